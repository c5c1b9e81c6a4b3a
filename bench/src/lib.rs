//! Measurements of a ZooKeeper-protocol server, and the ceiling they are put beside.
//!
//! - `rkbench`, the load generator: [`load`] drives connections from one thread, [`workload`] says what they
//!   send, [`schedule`] when, [`record`] keeps what came back and [`report`] prints it. [`compare`] measures
//!   several servers in turn, [`arena`] starts them first; [`ensemble`] does so with three servers each, and kills
//!   and stops some of them. [`launch`] says how servers are started, [`process`] sees to their end.
//! - `bare-ring-server`, the measured ceiling: [`bare`].
//! - the criterion benches of the parts, which plant their trees with [`grove`].
//!
//! Nothing here is used by a node. The generator shares no code with the server it measures: it has its own
//! encoder ([`wire`]) and stands on epoll, so that a fault in the node's codec or ring cannot hide itself.

pub mod arena;
pub mod bare;
pub mod cli;
pub mod compare;
pub mod ensemble;
pub mod error;
pub mod grove;
pub mod launch;
pub mod load;
pub mod proc;
pub mod process;
pub mod record;
pub mod report;
pub mod schedule;
pub mod session;
pub mod snapshots;
pub mod trace;
pub mod wire;
pub mod words;
pub mod workload;
