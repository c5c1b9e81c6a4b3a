//! Writes that can be judged after a crash.
//!
//! A [`Writer`] is one connection that sends a fixed, endless sequence of operations, many in flight. Because a
//! connection's requests are carried out in order, what a crash may leave of the sequence is exactly a prefix: at
//! least everything acknowledged, at most everything sent. [`Record::verify`] asks for nothing less: it finds the
//! one `m` with `acked <= m <= sent` for which the tree looks like the first `m` operations and nothing else, and
//! compares every byte and every zxid that was acknowledged.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client::{Client, Failure, Reply};
use crate::wire::{Body, Fields, code, op};

/// What one connection sent and what it was promised.
#[derive(Clone, Debug)]
pub struct Record {
    /// The parent node of everything the connection wrote.
    pub prefix: String,
    /// Operations handed to the kernel, at least in part.
    pub sent: u64,
    /// The zxid of each acknowledged operation, in order.
    pub acked: Vec<i64>,
}

/// The operation with number `n` of a sequence: number 0 creates the parent, 1 the register, then every fourth
/// sets the register and all others create a node.
enum Step {
    Parent,
    Register,
    SetRegister,
    Create,
}

fn step(n: u64) -> Step {
    match n {
        0 => Step::Parent,
        1 => Step::Register,
        n if n.is_multiple_of(4) => Step::SetRegister,
        _ => Step::Create,
    }
}

/// The data that operation `n` writes: its number, then filler whose length and bytes depend on the number, from
/// nothing to a little over a log block, so that batches end at every offset.
pub fn data(prefix: &str, n: u64) -> Vec<u8> {
    let seed = prefix.bytes().fold(7u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
    let mut rng = fastrand::Rng::with_seed(n ^ seed);
    let len = if n.is_multiple_of(37) { rng.usize(..4500) } else { rng.usize(..200) };
    let mut data = format!("{n}:").into_bytes();
    data.extend(std::iter::repeat_with(|| rng.u8(..)).take(len));
    data
}

impl Record {
    fn child(&self, n: u64) -> String {
        format!("{}/n{n:07}", self.prefix)
    }

    fn register(&self) -> String {
        format!("{}/register", self.prefix)
    }

    fn request(&self, n: u64) -> (i32, Body) {
        let data = data(&self.prefix, n);
        match step(n) {
            Step::Parent => (op::CREATE, Body::create(&self.prefix, b"", 0)),
            Step::Register => (op::CREATE, Body::create(&self.register(), &data, 0)),
            Step::SetRegister => (op::SET_DATA, Body::new().string(&self.register()).buffer(&data).int(-1)),
            Step::Create => (op::CREATE, Body::create(&self.child(n), &data, 0)),
        }
    }

    /// Compares the tree with what was promised. The message says what is lost, invented or altered.
    pub fn verify(&self, client: &mut Client) -> Result<(), String> {
        let survivors = self.survivors(client)?;
        if survivors < self.acked.len() as u64 {
            let n = survivors;
            let (acked, zxid) = (self.acked.len(), self.acked[n as usize]);
            return Err(format!(
                "{}: lost {n}.. of {acked} acknowledged, the first at zxid {zxid:#x}",
                self.prefix
            ));
        }
        if survivors > self.sent {
            return Err(format!("{}: {survivors} operations survived of {} sent", self.prefix, self.sent));
        }
        self.verify_register(client, survivors)?;
        self.verify_nodes(client, survivors)
    }

    /// How many operations the tree shows, judged by the newest; [`Record::verify`] then demands the rest.
    fn survivors(&self, client: &mut Client) -> Result<u64, String> {
        let children = match client.children(&self.prefix) {
            Ok(children) => children,
            Err(Failure::Code(code::NO_NODE)) => return Ok(0),
            Err(e) => return Err(format!("{}: children: {e}", self.prefix)),
        };
        let mut survivors = 1;
        for name in children {
            let n = match name.strip_prefix('n') {
                Some(number) => number.parse().map_err(|_| format!("{}: phantom {name}", self.prefix))?,
                None => self.register_value(client)?.0,
            };
            survivors = survivors.max(n + 1);
        }
        Ok(survivors)
    }

    fn register_value(&self, client: &mut Client) -> Result<(u64, crate::wire::Stat), String> {
        let (bytes, stat) =
            client.get(&self.register()).map_err(|e| format!("{}: register: {e}", self.prefix))?;
        let number = bytes.split(|b| *b == b':').next().unwrap_or_default();
        let number = std::str::from_utf8(number).ok().and_then(|t| t.parse().ok());
        let n: u64 = number.ok_or_else(|| format!("{}: register holds {bytes:?}", self.prefix))?;
        if bytes != data(&self.prefix, n) {
            return Err(format!("{}: register holds altered bytes of operation {n}", self.prefix));
        }
        Ok((n, stat))
    }

    fn verify_register(&self, client: &mut Client, survivors: u64) -> Result<(), String> {
        let Some(expected) =
            (1..survivors).rev().find(|n| matches!(step(*n), Step::Register | Step::SetRegister))
        else {
            return Ok(());
        };
        let (n, stat) = self.register_value(client)?;
        if n != expected {
            return Err(format!("{}: register holds operation {n}, not {expected}", self.prefix));
        }
        let sets = (1..survivors).filter(|n| matches!(step(*n), Step::SetRegister)).count();
        if stat.version as usize != sets {
            return Err(format!("{}: register has version {}, not {sets}", self.prefix, stat.version));
        }
        self.verify_zxid(n, stat.mzxid)
    }

    /// Every created node below `survivors` is there with its bytes, and there is no other.
    fn verify_nodes(&self, client: &mut Client, survivors: u64) -> Result<(), String> {
        let created: Vec<u64> = (0..survivors).filter(|n| matches!(step(*n), Step::Create)).collect();
        let mut expected: BTreeSet<String> = created.iter().map(|n| format!("n{n:07}")).collect();
        if survivors > 1 {
            expected.insert("register".into());
        }
        if survivors > 0 {
            let fault = |e| format!("{}: children: {e}", self.prefix);
            let found: BTreeSet<String> = client.children(&self.prefix).map_err(fault)?.into_iter().collect();
            if found != expected {
                let missing: Vec<_> = expected.difference(&found).take(5).collect();
                let phantom: Vec<_> = found.difference(&expected).take(5).collect();
                return Err(format!("{}: missing {missing:?}, phantom {phantom:?}", self.prefix));
            }
        }
        let mut newest = 0;
        for chunk in created.chunks(256) {
            for n in chunk {
                client.queue(op::GET_DATA, &Body::new().string(&self.child(*n)).bool(false));
            }
            client.flush().map_err(|e| e.to_string())?;
            for n in chunk {
                let reply = client.recv().map_err(|e| e.to_string())?;
                let reply = reply.ok().map_err(|e| format!("{}: {e}", self.child(*n)))?;
                let mut fields = Fields(&reply.body);
                if fields.buffer().unwrap_or_default() != data(&self.prefix, *n) {
                    return Err(format!("{}: altered bytes", self.child(*n)));
                }
                let stat = fields.stat();
                self.verify_zxid(*n, stat.czxid)?;
                if stat.czxid <= newest {
                    return Err(format!("{}: zxid {:#x} after {newest:#x}", self.child(*n), stat.czxid));
                }
                newest = stat.czxid;
            }
        }
        Ok(())
    }

    fn verify_zxid(&self, n: u64, found: i64) -> Result<(), String> {
        match self.acked.get(n as usize) {
            Some(promised) if *promised != found => {
                Err(format!("{}: operation {n} has zxid {found:#x}, promised {promised:#x}", self.prefix))
            }
            _ => Ok(()),
        }
    }
}

/// One connection that writes a [`Record`].
#[derive(Debug)]
pub struct Writer {
    client: Client,
    window: usize,
    /// What was sent and promised so far.
    pub record: Record,
}

impl Writer {
    /// Connects. `window` requests are kept in flight.
    pub fn connect(addr: SocketAddr, prefix: &str, window: usize) -> io::Result<Writer> {
        let record = Record { prefix: prefix.into(), sent: 0, acked: Vec::new() };
        Ok(Writer { client: Client::connect(addr)?, window, record })
    }

    /// Writes until the connection breaks or `enough` says so, and returns the record. With `enough`, all that is
    /// in flight is awaited first. A refusal of any operation is a failed test.
    pub fn run(mut self, enough: impl Fn(&Record) -> bool) -> Record {
        loop {
            let stop = enough(&self.record);
            if self.turn(stop).is_err() || (stop && self.in_flight() == 0) {
                return self.record;
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.record.sent as usize - self.record.acked.len()
    }

    fn turn(&mut self, stop: bool) -> io::Result<()> {
        while !stop && self.in_flight() < self.window {
            let (op, body) = self.record.request(self.record.sent);
            self.client.queue(op, &body);
            self.record.sent += 1;
        }
        self.client.flush()?;
        if self.in_flight() > 0 {
            let Reply { xid, zxid, err, .. } = self.client.recv()?;
            let n = self.record.acked.len();
            assert_eq!(xid as usize, n + 1, "{}: replies in order", self.record.prefix);
            assert_eq!(err, 0, "{}: operation {n} refused", self.record.prefix);
            assert!(self.record.acked.last().is_none_or(|last| *last < zxid), "zxids of one connection grow");
            self.record.acked.push(zxid);
        }
        Ok(())
    }
}

/// Runs `writers` connections against `addr` until they break, while `during` runs on this thread; returns what
/// each was promised. `during` gets a counter of acknowledged operations, so that it can wait for a load that is
/// really there instead of for a time.
pub fn write_during(
    addr: SocketAddr,
    label: &str,
    writers: usize,
    window: usize,
    during: impl FnOnce(&dyn Fn() -> usize),
) -> Vec<Record> {
    // All connect before anything happens to the server.
    let connect = |i| Writer::connect(addr, &format!("/{label}-{i}"), window).expect("connecting a writer");
    let writers: Vec<Writer> = (0..writers).map(connect).collect();
    let acked: Vec<AtomicUsize> = writers.iter().map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        let run = |(writer, acked): (Writer, &AtomicUsize)| {
            writer.run(|record| {
                acked.store(record.acked.len(), Ordering::Relaxed);
                false
            })
        };
        let handles: Vec<_> =
            writers.into_iter().zip(&acked).map(|one| scope.spawn(move || run(one))).collect();
        during(&|| acked.iter().map(|a| a.load(Ordering::Relaxed)).sum());
        handles.into_iter().map(|h| h.join().expect("a writer panicked")).collect()
    })
}
