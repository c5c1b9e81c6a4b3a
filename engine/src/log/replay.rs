//! The log gone through once more while it is open: for building a state anew.
//!
//! Blocking reads of what is durable.

use super::Log;
use super::error::LogError;
use super::recover::Replay;
use crate::id::Zxid;
use crate::io::Volume;
use crate::snapshot::Published;

impl Log {
    /// The snapshot behind which the log begins.
    pub(crate) fn snapshot(&self) -> Option<&Published> {
        self.snapshot.as_ref()
    }

    /// The snapshots behind which the log goes on, oldest first.
    pub fn snapshots(&self) -> &[Published] {
        self.snapshot.as_slice()
    }

    /// Calls `replay` with all durable transactions up to `upto`, in order.
    pub(crate) fn replay(
        &self,
        vol: &dyn Volume,
        upto: Zxid,
        replay: &mut Replay<'_>,
    ) -> Result<(), LogError> {
        let before_all = Zxid::from_raw(i64::MIN);
        self.view(before_all).replay(vol, before_all, upto, replay).map(drop)
    }
}
