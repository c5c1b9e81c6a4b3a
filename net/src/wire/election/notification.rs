//! A member's vote, as it goes over the election connection.
//!
//! ```text
//! 0         4        12      20              28          36        40              44
//! | state   | leader | zxid  | electionEpoch | peerEpoch | version | config length | config text
//! ```
//! What the length of a frame means (quorum reference 2.4): below 28 nothing; 28 has no peerEpoch; 29 to 39 is
//! malformed; 40 has a version that nobody reads; from 41 on the version counts, and from version 2 on the text
//! must follow.

use ringkeeper_engine::id::{Sid, Zxid};
use ringkeeper_engine::jute::{JuteError, Reader, put_i32, put_i64, put_len};

use super::MAX_FRAME;

/// The version this server writes.
const VERSION: i32 = 2;

/// What a member is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It takes part in an election.
    Looking,
    /// It votes and has a leader.
    Following,
    /// It believes that it leads.
    Leading,
    /// It has no vote and has a leader.
    Observing,
}

impl State {
    fn from_wire(number: i32) -> Option<State> {
        [State::Looking, State::Following, State::Leading, State::Observing]
            .into_iter()
            .find(|state| state.to_wire() == number)
    }

    fn to_wire(self) -> i32 {
        match self {
            State::Looking => 0,
            State::Following => 1,
            State::Leading => 2,
            State::Observing => 3,
        }
    }
}

/// A vote and the state of who casts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification {
    /// What the sender is doing.
    pub state: State,
    /// The server voted for; `i64::MIN` from those who vote for nobody.
    pub leader: Sid,
    /// The last transaction of the candidate.
    pub zxid: Zxid,
    /// The round of the sender's vote.
    pub round: i64,
    /// The candidate's current epoch; `i64::MIN` from those who vote for nobody.
    pub peer_epoch: i64,
    /// 0 if the sender is so old that it sends none.
    pub version: i32,
}

/// A notification as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said<'a> {
    /// The vote.
    pub vote: Notification,
    /// The configuration that the sender uses, as text; whether it can be parsed is another question.
    pub config: Option<&'a [u8]>,
}

/// Why bytes on an election connection are no frame, or a frame no notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Costs the connection.
    #[error("reading an election frame: a length of {length} is not 1 to {MAX_FRAME}")]
    Length {
        /// What was announced.
        length: i32,
    },
    /// The frame is skipped.
    #[error("reading a notification: {bytes} bytes are not a length it can have")]
    Size {
        /// Length of the frame.
        bytes: usize,
    },
    /// The frame is skipped.
    #[error("reading a notification: state {state} is unknown")]
    State {
        /// What was announced.
        state: i32,
    },
    /// The frame is skipped.
    #[error("reading a notification: {0}")]
    Jute(#[from] JuteError),
}

/// The body of the first frame in `bytes`, and the length of body and prefix together; `None` if bytes are missing.
///
/// # Errors
/// When the length is impossible; the connection must be closed.
pub fn frame(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, FrameError> {
    let mut reader = Reader::new(bytes);
    let Ok(length) = reader.i32() else { return Ok(None) };
    let wanted = usize::try_from(length).ok().filter(|wanted| (1..=MAX_FRAME).contains(wanted));
    let wanted = wanted.ok_or(FrameError::Length { length })?;
    Ok(reader.take(wanted).ok().map(|body| (body, reader.position())))
}

impl Notification {
    /// Reads the body of a frame.
    ///
    /// # Errors
    /// When it is no notification; the frame is to be skipped and the connection kept.
    pub fn decode(body: &[u8]) -> Result<Said<'_>, FrameError> {
        if body.len() < 28 || (29..40).contains(&body.len()) {
            return Err(FrameError::Size { bytes: body.len() });
        }
        let reader = &mut Reader::new(body);
        let number = reader.i32()?;
        let (leader, zxid, round) = (Sid(reader.i64()?), Zxid::from_raw(reader.i64()?), reader.i64()?);
        let short = body.len() == 28;
        let peer_epoch = if short { zxid.raw() >> 32 } else { reader.i64()? };
        let version = if body.len() > 40 { reader.i32()? } else { 0 };
        let config = if version >= 2 { Some(reader.buffer()?).flatten() } else { None };
        let state = State::from_wire(number).ok_or(FrameError::State { state: number })?;
        Ok(Said { vote: Notification { state, leader, zxid, round, peer_epoch, version }, config })
    }

    /// The whole frame, with its length, in the form of today. `config` is the sender's configuration as text; its
    /// version must not be larger than one really in use, because that restarts elections elsewhere.
    pub fn encode(&self, config: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(48 + config.len());
        put_len(&mut out, 44 + config.len());
        put_i32(&mut out, self.state.to_wire());
        for number in [self.leader.0, self.zxid.raw(), self.round, self.peer_epoch] {
            put_i64(&mut out, number);
        }
        put_i32(&mut out, VERSION);
        put_len(&mut out, config.len());
        out.extend_from_slice(config);
        out
    }
}
