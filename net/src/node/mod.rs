//! The core loops and the housekeeper: performs what the state machines ask for.
//!
//! Start reading at [`mod@serve`], which is all of a node's life. A loop is [`single`] (front and replica in one) or
//! [`split`] (fronts and replica apart); both drive the same [`front::Front`] and [`replica::Replica`].

pub mod bind;
pub mod clock;
pub mod ensemble;
pub mod front;
pub mod housekeeper;
pub mod link;
mod listening;
pub mod output;
pub mod replica;
pub mod serve;
pub mod single;
pub mod split;
mod start;
pub mod words;

pub use serve::{ServeError, Serving, serve};
