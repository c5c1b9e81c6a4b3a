//! The log gone through once more while it is open: for building a state anew.
//!
//! Blocking reads of what is durable.

use super::Log;
use super::error::LogError;
use super::recover::Replay;
use crate::id::Zxid;
use crate::io::Volume;

impl Log {
    /// Calls `replay` with all durable transactions above `after` up to `upto`, in order.
    pub(crate) fn replay(
        &self,
        vol: &dyn Volume,
        after: Zxid,
        upto: Zxid,
        replay: &mut Replay<'_>,
    ) -> Result<(), LogError> {
        self.view(after).replay(vol, after, upto, replay).map(drop)
    }
}
