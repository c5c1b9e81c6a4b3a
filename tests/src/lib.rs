//! What the whole-node tests share: how to start a server, speak to it, hurt it, and judge what is left.
//!
//! The tests themselves are in `tests/tests/`. They see a node only from outside, as a process behind a TCP port
//! and a directory: [`node`] starts and kills it, [`client`] speaks its protocol byte by byte with an encoder of
//! its own (an error that encoder and decoder of the product shared would otherwise stay hidden), [`load`] writes
//! a history that can be judged after a crash, [`volume`] is a disk that forgets what nobody flushed, and [`cluster`]
//! is all of that for ensembles. Every script takes a [`node::Server`], or a list of them, so that it can also be run
//! against Apache ZooKeeper: a test that the reference fails is a wrong test.

pub mod both;
pub mod bystander;
pub mod client;
pub mod cluster;
pub mod corpus;
pub mod dialogue;
pub mod dir;
pub mod ext4;
pub mod fuzz;
pub mod inspector;
pub mod load;
pub mod made;
pub mod medium;
pub mod mutate;
pub mod node;
pub mod place;
pub mod process;
pub mod regions;
pub mod script;
pub mod sim;
pub mod tool;
pub mod volume;
pub mod wire;
