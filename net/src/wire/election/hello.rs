//! The first bytes of the connecting side: who it is and where its election port is. There is no reply.
//!
//! ```text
//! 0               8      16        20
//! | version: long | sid  | length  | address text, UTF-8
//! ```
//! Written in one piece: the reference reads the text with one call and refuses a short read. A first long that is
//! not negative is itself the sid and nothing follows (a very old form, still accepted by the reference).

use ringkeeper_engine::id::Sid;
use ringkeeper_engine::jute::{Reader, put_i32, put_i64};

const ONE_ADDRESS: i64 = -65536;
const MANY_ADDRESSES: i64 = -65535;

/// Bytes of address text at most.
const MAX_TEXT: usize = 2048;

/// Who connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The member that connects.
    pub sid: Sid,
    /// Host and port of its election port, as announced: a host name, an address, or a wildcard. Empty in the
    /// very old form.
    pub addresses: Vec<(String, u16)>,
}

/// Why the first bytes of an election connection are no hello.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// A protocol this server does not know.
    #[error("reading an election hello: version {version} is unknown")]
    Version {
        /// What was announced.
        version: i64,
    },
    /// The address text is empty or too long.
    #[error("reading the election hello of server {sid}: {length} bytes of address are not 1 to {MAX_TEXT}")]
    Length {
        /// Who connects.
        sid: Sid,
        /// What was announced.
        length: i32,
    },
    /// The address text is not `host:port`, or several of them where one is expected.
    #[error("reading the election hello of server {sid}: {text:?} is no address with a port")]
    Address {
        /// Who connects.
        sid: Sid,
        /// The part in question.
        text: String,
    },
}

impl Hello {
    /// Reads a hello off the beginning of `bytes`: it and its length in bytes, or `None` if bytes are missing. A
    /// whole hello is never longer than 2068 bytes.
    ///
    /// # Errors
    /// When no further bytes could make a hello of this. The connection is of no use then.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Hello, usize)>, HelloError> {
        let mut reader = Reader::new(bytes);
        let Ok(version) = reader.i64() else { return Ok(None) };
        if version >= 0 {
            return Ok(Some((Hello { sid: Sid(version), addresses: Vec::new() }, reader.position())));
        }
        if version != ONE_ADDRESS && version != MANY_ADDRESSES {
            return Err(HelloError::Version { version });
        }
        let (Ok(sid), Ok(length)) = (reader.i64().map(Sid), reader.i32()) else { return Ok(None) };
        let wanted = usize::try_from(length).ok().filter(|wanted| (1..=MAX_TEXT).contains(wanted));
        let wanted = wanted.ok_or(HelloError::Length { sid, length })?;
        let Ok(text) = reader.take(wanted) else { return Ok(None) };
        let text = String::from_utf8_lossy(text);
        let addresses = if version == MANY_ADDRESSES {
            text.split('|').map(|part| address(sid, part)).collect::<Result<_, _>>()?
        } else {
            vec![address(sid, &text)?]
        };
        Ok(Some((Hello { sid, addresses }, reader.position())))
    }

    /// The hello of a server with one address, or in the newer form if there are several (servers older than 3.6
    /// do not know that one). To be sent with a single write.
    pub fn encode(&self) -> Vec<u8> {
        let parts: Vec<String> = self
            .addresses
            .iter()
            .map(
                |(host, port)| {
                    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
                },
            )
            .collect();
        let text = parts.join("|");
        let mut out = Vec::with_capacity(20 + text.len());
        put_i64(&mut out, if parts.len() > 1 { MANY_ADDRESSES } else { ONE_ADDRESS });
        put_i64(&mut out, self.sid.0);
        put_i32(&mut out, i32::try_from(text.len()).unwrap_or(i32::MAX));
        out.extend_from_slice(text.as_bytes());
        out
    }
}

/// `host:port`, the host in brackets if it is an IPv6 address.
fn address(sid: Sid, text: &str) -> Result<(String, u16), HelloError> {
    let parsed = || {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        let port = port.parse::<u16>().ok().filter(|&port| port != 0)?;
        (!host.is_empty()).then(|| (host.to_owned(), port))
    };
    parsed().ok_or_else(|| HelloError::Address { sid, text: text.to_owned() })
}
