//! Makes a tree of a snapshot that was received and stored. Blocking and long, on a thread of its own.

use std::sync::Arc;
use std::time::Instant;

use ringkeeper_engine::io::FsVolume;
use ringkeeper_engine::snapshot::receive::LoadRequest;

use super::making::REPORT_EVERY;
use super::volume::Watched;
use super::{Report, Reporter, Stop};
use crate::member::work::{Doing, WorkDone};

/// Reads the file back and reports the tree. An abandoned reception ends in an error at its next read.
pub(super) fn load(
    reception: u64,
    request: LoadRequest,
    volume: Arc<FsVolume>,
    reporter: Reporter,
    stop: &Stop,
) {
    let volume = Watched::new(volume, || stop.is_void(reception));
    let mut reported = Instant::now();
    let result = request.perform(&volume, &mut |done, of| {
        if reported.elapsed() >= REPORT_EVERY {
            reported = Instant::now();
            reporter.send(Report::Work(WorkDone::Progress { what: Doing::Loading, done, of }));
        }
    });
    reporter.send(Report::Work(WorkDone::Loaded { reception, result: Box::new(result) }));
}
