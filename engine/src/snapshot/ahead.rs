//! Reading a file while what was read before is worked on.

use std::sync::mpsc::sync_channel;
use std::thread;

use crate::log::LogError;

/// Pieces that may wait to be worked on.
const AHEAD: usize = 2;

/// Calls `read` with 0, 1, 2, ... below `count` on a thread of its own, and `take` here with what it returns, in order.
/// The first error of either ends it. Where no thread can be had, everything happens here.
pub(super) fn read_ahead<T: Send>(
    count: usize,
    read: &(dyn Fn(usize) -> Result<T, LogError> + Sync),
    take: &mut dyn FnMut(T) -> Result<(), LogError>,
) -> Result<(), LogError> {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        let reader = move || {
            for index in 0..count {
                let piece = read(index);
                let failed = piece.is_err();
                // Nobody takes any more after an error there.
                if sender.send(piece).is_err() || failed {
                    return;
                }
            }
        };
        match thread::Builder::new().name("read-ahead".to_owned()).spawn_scoped(scope, reader) {
            Ok(_) => receiver.into_iter().try_for_each(|piece| take(piece?)),
            Err(_) => (0..count).try_for_each(|index| take(read(index)?)),
        }
    })
}
