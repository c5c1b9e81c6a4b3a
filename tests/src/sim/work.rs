//! File work that a server has done beside its loop: step by step, so that whatever happens can happen in between.

use std::collections::VecDeque;

use ringkeeper_engine::snapshot::merge::Making;
use ringkeeper_engine::snapshot::receive::RECEIVING;
use ringkeeper_engine::snapshot::steps::{self, Step};
use ringkeeper_engine::snapshot::{Published, merge, piece_checksums, read_piece};
use ringkeeper_net::member::{Work, WorkDone};

use super::machine::{Input, Process};
use super::{Event, World};

/// Works that are done one after the other: snapshots of the own state, and what concerns receptions.
pub const LANES: usize = 2;

/// One of them.
#[derive(Debug, Default)]
pub struct Lane {
    waiting: VecDeque<Work>,
    now: Option<Ongoing>,
}

/// A work in the middle.
#[derive(Debug)]
enum Ongoing {
    Making(Box<Making>),
    Storing { reception: u64, steps: VecDeque<Step>, written: u64 },
    Other(Work),
}

impl From<Work> for Ongoing {
    fn from(work: Work) -> Ongoing {
        match work {
            Work::MakeSnapshot { request, .. } => Ongoing::Making(Box::new(request.begin())),
            Work::Store { reception, steps } => {
                Ongoing::Storing { reception, steps: steps.into(), written: 0 }
            }
            other => Ongoing::Other(other),
        }
    }
}

impl World {
    /// Takes what a server wants done.
    pub fn take_work(&mut self, index: usize) {
        let process = self.machines[index].process.as_mut().expect("alive");
        let Process { member, lanes, .. } = process;
        let mut begins = [false; LANES];
        while let Some(work) = member.take_work() {
            let lane = usize::from(!matches!(work, Work::MakeSnapshot { .. } | Work::MakeImage { .. }));
            begins[lane] |= lanes[lane].now.is_none() && lanes[lane].waiting.is_empty();
            lanes[lane].waiting.push_back(work);
        }
        for (lane, _) in begins.into_iter().enumerate().filter(|(_, begins)| *begins) {
            self.plan_work(index, lane);
        }
    }

    fn plan_work(&mut self, index: usize, lane: usize) {
        let machine = &self.machines[index];
        let (incarnation, slow) = (machine.incarnation, machine.slow);
        let took = self.rng.u64(20..3000) * slow;
        self.after(took, Event::Work { machine: index, incarnation, lane });
    }

    /// A step of a work is done.
    pub fn work(&mut self, index: usize, incarnation: u32, number: usize) {
        let machine = &mut self.machines[index];
        if machine.incarnation != incarnation {
            return;
        }
        let Some(process) = &mut machine.process else { return };
        let Process { lanes, inbox, .. } = process;
        let lane = &mut lanes[number];
        let disk = &machine.disk;
        let Some(now) = lane.now.take().or_else(|| lane.waiting.pop_front().map(Ongoing::from)) else {
            return;
        };
        let mut made = None;
        let done = match now {
            Ongoing::Making(mut making) => match making.next(disk) {
                Ok(Some(step)) => match steps::perform(&step, merge::MAKING, disk) {
                    Ok(()) => {
                        lane.now = Some(Ongoing::Making(making));
                        None
                    }
                    Err(error) => Some(WorkDone::SnapshotMade(Err(error.into()))),
                },
                Ok(None) => {
                    made = Some(making.published());
                    Some(WorkDone::SnapshotMade(Ok(making.published())))
                }
                Err(error) => Some(WorkDone::SnapshotMade(Err(error))),
            },
            Ongoing::Storing { reception, mut steps, written } => match steps.pop_front() {
                None => Some(WorkDone::Stored { reception, result: Ok(written) }),
                Some(step) => match steps::perform(&step, RECEIVING, disk) {
                    Ok(()) => {
                        let written = written + step.written();
                        lane.now = Some(Ongoing::Storing { reception, steps, written });
                        None
                    }
                    Err(error) => Some(WorkDone::Stored { reception, result: Err(error) }),
                },
            },
            Ongoing::Other(work) => work.perform(disk),
        };
        let goes_on = lane.now.is_some() || !lane.waiting.is_empty();
        let told = done.is_some();
        inbox.extend(done.map(Input::Done));
        if goes_on {
            self.plan_work(index, number);
        }
        if told {
            self.wake(index);
        }
        if let Some(made) = made {
            self.judge_snapshot(index, &made);
        }
    }

    /// Whoever makes a snapshot of one state makes the same bytes.
    fn judge_snapshot(&mut self, index: usize, made: &Published) {
        let disk = &self.machines[index].disk;
        let crcs = piece_checksums(disk, made).expect("just written");
        let pieces =
            (0..crcs.len() as u64).map(|at| read_piece(disk, made, &crcs, at).expect("just written"));
        let body: Vec<u8> = pieces.flatten().collect();
        self.coverage.snapshots += 1;
        self.judge.snapshot_made(self.machines[index].sid, made.zxid(), body);
    }
}
