//! Names to addresses, off the loop: asking a name server blocks for as long as it likes.
//!
//! One thread, begun with the first name that is no literal address, answers one question after the other. A name
//! is asked for anew at each connect; what was known before serves while the answer is late or missing, so that a
//! name server that hangs delays only members never heard of.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use ringkeeper_engine::io::Waker;

/// Looks one name up; may block.
pub(super) type LookUp = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

type Answer = (String, io::Result<Vec<IpAddr>>);

/// What is known of one name.
#[derive(Debug, Default)]
struct Known {
    asking: bool,
    /// How many answers have come.
    answers: u64,
    /// What the last answer said, unless it was an error.
    error: Option<io::Error>,
    /// Of the last answer that named any.
    addresses: Vec<IpAddr>,
}

/// The loop's end.
pub(super) struct Resolver {
    look_up: LookUp,
    waker: Waker,
    thread: Option<(Sender<String>, Receiver<Answer>)>,
    known: HashMap<String, Known>,
}

/// How a question stands.
#[derive(Debug)]
pub(super) enum Found {
    /// These, in the order to try them.
    Addresses(Vec<IpAddr>),
    /// The answer has not come.
    Pending,
    /// There is none.
    Failed(io::Error),
}

impl Resolver {
    /// Asks the system. The waker's ring is woken when an answer has come.
    pub fn new(waker: Waker) -> Resolver {
        let system = |host: &str| Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect());
        Resolver::with(waker, Arc::new(system))
    }

    pub fn with(waker: Waker, look_up: LookUp) -> Resolver {
        Resolver { look_up, waker, thread: None, known: HashMap::new() }
    }

    /// Asks for a name. The number is for [`Resolver::found`], which then waits for this answer or a later one.
    pub fn ask(&mut self, host: &str) -> u64 {
        if literal(host).is_some() {
            return 0;
        }
        let known = self.known.entry(host.to_owned()).or_default();
        if !known.asking {
            known.asking = true;
            let (questions, _) = self.thread.get_or_insert_with(|| begin(&self.look_up, &self.waker));
            if questions.send(host.to_owned()).is_err() {
                known.asking = false;
                known.answers += 1;
                known.error = Some(io::Error::other("the resolver's thread could not be started"));
            }
        }
        known.answers
    }

    /// What has been found since `asked`; with `hurry` an older answer will do if there is none yet.
    pub fn found(&self, host: &str, asked: u64, hurry: bool) -> Found {
        if let Some(address) = literal(host) {
            return Found::Addresses(vec![address]);
        }
        let Some(known) = self.known.get(host) else { return Found::Pending };
        let answered = known.answers > asked || (!known.asking && known.error.is_some());
        if !known.addresses.is_empty() && (answered || hurry) {
            return Found::Addresses(known.addresses.clone());
        }
        match &known.error {
            Some(error) if answered => Found::Failed(io::Error::new(error.kind(), error.to_string())),
            _ => Found::Pending,
        }
    }

    /// Takes the answers that have come.
    pub fn take_answers(&mut self) {
        let Some((_, answers)) = &self.thread else { return };
        while let Ok((host, answer)) = answers.try_recv() {
            let known = self.known.entry(host).or_default();
            known.asking = false;
            known.answers += 1;
            known.error = None;
            match answer {
                Ok(addresses) if addresses.is_empty() => {
                    known.error = Some(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
                }
                Ok(addresses) => known.addresses = addresses,
                Err(error) => known.error = Some(error),
            }
        }
    }
}

/// A host that needs no name server; an IPv6 address may stand in brackets.
fn literal(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host).parse().ok()
}

/// Starts the thread. It ends with the questions; one that hangs in a look-up is left to itself.
fn begin(look_up: &LookUp, waker: &Waker) -> (Sender<String>, Receiver<Answer>) {
    let (questions, inbox) = channel::<String>();
    let (outbox, answers) = channel();
    let (look_up, waker) = (look_up.clone(), waker.clone());
    let work = move || {
        for host in inbox {
            let answer = look_up(&host);
            if outbox.send((host, answer)).is_err() {
                return;
            }
            waker.wake();
        }
    };
    if let Err(error) = thread::Builder::new().name("resolver".into()).spawn(work) {
        tracing::error!("starting the resolver's thread: {error}");
    }
    (questions, answers)
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("known", &self.known).finish_non_exhaustive()
    }
}
