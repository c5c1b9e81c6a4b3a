//! The four-letter words: which there are, which are allowed, and what they answer.
//!
//! Pure: no socket, no clock, no lock. A front loop recognises a word ([`Word::from_bytes`]) and waits for its
//! argument ([`Word::argument_len`]); whoever owns the state asks [`admit`], carries out the word's [`effect`],
//! fills a [`NodeView`] and sends what [`render`] returns, then closes the connection. The client may have closed
//! its sending side by then: an end of stream must not cancel the answer.

mod environment;
mod metrics;
mod mntr;
mod render;
mod text;
mod view;
mod word;

pub use environment::{Environment, file_descriptors};
pub use metrics::{Counter, Metrics, Observed, Summary};
pub use render::render;
pub use text::{EMULATED, version};
pub use view::{
    Bucket, Connection, ConnectionSession, DataWatches, EnsembleSettings, EnsembleView, LeadingView, Mode,
    NodeView, Settings, SnapshotView, TransferView,
};
pub use word::{Whitelist, Word};

/// What to do with a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Carry it out and answer.
    Answer,
    /// Send these bytes and close.
    Refuse(Vec<u8>),
    /// Close without a word.
    Close,
}

/// Whether a word is answered under this whitelist.
pub fn admit(word: Word, allowed: Whitelist) -> Admission {
    if !allowed.allows(word) {
        let text = format!("{} is not executed because it is not in the whitelist.\n", word.name());
        return Admission::Refuse(text.into_bytes());
    }
    match word {
        // No command stands behind it: it is taken for a frame length, a negative one.
        Word::TelnetClose => Admission::Close,
        _ => Admission::Answer,
    }
}

/// What a word changes before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The statistics of every connection.
    ResetConnections,
    /// [`Metrics`], packet counters and response sizes.
    ResetServer,
    /// The number that `gtmk` answers; nothing else hangs on it.
    SetTraceMask(i64),
    /// The argument is not whole: close without an answer.
    Incomplete,
}

/// What `word` changes; `argument` is what followed its four bytes.
pub fn effect(word: Word, argument: &[u8]) -> Effect {
    match word {
        Word::Crst => Effect::ResetConnections,
        Word::Srst => Effect::ResetServer,
        Word::Stmk => match argument.first_chunk() {
            Some(mask) => Effect::SetTraceMask(i64::from_be_bytes(*mask)),
            None => Effect::Incomplete,
        },
        _ => Effect::None,
    }
}

#[cfg(test)]
mod tests;
