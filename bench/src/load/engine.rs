//! The event loop of the generator: connects, sends, understands answers, stops.

use std::collections::BTreeMap;
use std::mem;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventFlags};
use rustix::io::Errno;

use super::conn::{Conn, Flush, Pending, State};
use super::{Created, LoadOptions, LoadReport};
use crate::error::BenchError;
use crate::proc;
use crate::record::{Recorder, histogram};
use crate::schedule::{Plan, Share};
use crate::wire::{self, Frames, ReplyHeader, WireError};
use crate::workload::{Generator, Naming, Op};

/// TCP handshakes under way at once: fewer than the shortest listen queue in use (50).
const CONNECTING: usize = 32;
/// How long all connections may take to come up.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// How long a lost connection waits before the next attempt.
const RETRY_NS: u64 = 50_000_000;
/// How often it is looked whether a session needs a ping.
const PING_CHECK_NS: u64 = 250_000_000;
/// Bytes asked from a socket at once.
const READ: usize = 256 << 10;
/// How long closing sessions may take at the end.
const CLOSE_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connect,
    Send,
    Drain,
    Close,
}

struct Engine<'a> {
    options: &'a LoadOptions,
    clock: Instant,
    epoll: OwnedFd,
    conns: Vec<Conn>,
    phase: Phase,
    generator: Option<Generator>,
    recorder: Recorder,
    plan: Option<Plan>,
    /// Number of the next request of the plan that is not yet due.
    next_g: u64,
    next_ping_check_ns: u64,
    read: Vec<u8>,
    error_codes: BTreeMap<i32, u64>,
    lost: u64,
    reconnects: u64,
    send_lag: Histogram<u64>,
    sequential: Option<(u64, u64)>,
}

/// Runs the load of `options` on znodes that exist.
pub(super) fn drive(options: &LoadOptions) -> Result<(LoadReport, Created), BenchError> {
    // Sleeping until a due time must not be rounded to the default slack of 50 us.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))
        .map_err(BenchError::os("setting timer slack"))?;
    proc::raise_descriptor_limit();
    let step = options.connections as u64;
    let conns = (0..options.connections)
        .map(|i| Conn::new(i % options.servers.len(), options.window, Share::new(i as u64, step)))
        .collect();
    let workload = &options.workload;
    let mut engine = Engine {
        options,
        clock: Instant::now(),
        epoll: epoll::create(CreateFlags::CLOEXEC).map_err(BenchError::os("creating an epoll"))?,
        conns,
        phase: Phase::Connect,
        generator: (!workload.mix.is_idle()).then(|| Generator::new(workload, &options.names)),
        recorder: Recorder::new(0, 1),
        plan: None,
        next_g: 0,
        next_ping_check_ns: 0,
        read: vec![0; READ],
        error_codes: BTreeMap::new(),
        lost: 0,
        reconnects: 0,
        send_lag: histogram(2),
        sequential: None,
    };
    engine.connect_all()?;
    let usage = engine.measure()?;
    let unanswered = engine.drain()?;
    engine.close_all()?;
    Ok(engine.finish(usage, unanswered))
}

/// CPU and memory use over the measured interval.
#[derive(Clone, Copy, Debug)]
struct Usage {
    generator_cpu: f64,
    server_cores: Option<f64>,
    server_rss: Option<u64>,
}

impl Engine<'_> {
    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn connect_all(&mut self) -> Result<(), BenchError> {
        let deadline = CONNECT_PATIENCE.as_nanos() as u64;
        loop {
            let now = self.now();
            let mut pending = self
                .conns
                .iter()
                .filter(|c| matches!(c.state, State::Connecting | State::Handshaking))
                .count();
            let mut up = 0;
            for i in 0..self.conns.len() {
                match self.conns[i].state {
                    State::Up => up += 1,
                    State::Down { retry_ns } if retry_ns <= now && pending < CONNECTING => {
                        self.connect(i)?;
                        pending += 1;
                    }
                    _ => {}
                }
            }
            if up == self.conns.len() {
                return Ok(());
            }
            if now > deadline {
                let what = format!("only {up} of {} connections came up", self.conns.len());
                return Err(BenchError::Timeout { what, seconds: CONNECT_PATIENCE.as_secs() });
            }
            self.turn(now + 10_000_000)?;
        }
    }

    fn measure(&mut self) -> Result<Usage, BenchError> {
        let start = self.now();
        let from = start + self.options.warmup.as_nanos() as u64;
        let to = from + self.options.measure.as_nanos() as u64;
        self.recorder = Recorder::new(from, to).tracing(self.clock, self.options.traced_answers());
        self.plan = self.options.rate.map(|rate| Plan::new(start, rate));
        self.phase = Phase::Send;
        if self.plan.is_none() {
            for i in 0..self.conns.len() {
                self.send(i)?;
            }
        }
        self.send_until(from)?;
        let own = std::process::id();
        let pids = &self.options.watch_pids;
        let (own_before, servers_before) = (proc::cpu_us(own), proc::sum(pids, proc::cpu_us));
        let sampled = self.now();
        self.send_until(to)?;
        let (own_after, servers_after) = (proc::cpu_us(own), proc::sum(pids, proc::cpu_us));
        let elapsed_us = (self.now() - sampled).max(1) as f64 / 1e3;
        let cores = |before: Option<u64>, after: Option<u64>| {
            before.zip(after).map(|(b, a)| a.saturating_sub(b) as f64 / elapsed_us)
        };
        Ok(Usage {
            generator_cpu: cores(own_before, own_after).unwrap_or(0.0),
            server_cores: cores(servers_before, servers_after),
            server_rss: proc::sum(pids, proc::rss_bytes),
        })
    }

    fn send_until(&mut self, end: u64) -> Result<(), BenchError> {
        loop {
            let now = self.now();
            if now >= end {
                return Ok(());
            }
            let wake = match &self.plan {
                Some(plan) => end.min(plan.due_ns(self.next_g)),
                None => end,
            };
            self.turn(wake)?;
            self.take_up_due(end)?;
        }
    }

    /// Open loop: hands what has become due to its connections and sends what their windows admit.
    fn take_up_due(&mut self, end: u64) -> Result<(), BenchError> {
        let Some(plan) = self.plan else { return Ok(()) };
        let now = self.now().min(end);
        let first = self.next_g;
        let n = self.conns.len() as u64;
        loop {
            let due = plan.due_ns(self.next_g);
            if due > now || due >= end {
                break;
            }
            self.send_lag.saturating_record((now - due).max(1));
            self.conns[(self.next_g % n) as usize].share.add_due();
            self.next_g += 1;
        }
        for g in first..self.next_g.min(first + n) {
            self.send((g % n) as usize)?;
        }
        Ok(())
    }

    /// Waits for the answers that are still missing; returns how many never came.
    fn drain(&mut self) -> Result<u64, BenchError> {
        self.phase = Phase::Drain;
        let deadline = self.now() + self.options.drain.as_nanos() as u64;
        let open = |c: &Conn| !c.flight.is_empty() || c.share.backlog() > 0;
        while self.conns.iter().any(open) && self.now() < deadline {
            self.turn(deadline)?;
        }
        let now = self.now();
        let mut unanswered = 0;
        for conn in &mut self.conns {
            for pending in conn.flight.drain(..) {
                self.recorder.unanswered(pending.op, pending.start_ns, now);
                unanswered += 1;
            }
            if let Some(plan) = &self.plan {
                while let Some(due) = conn.share.take(plan) {
                    // What was never sent has no operation yet.
                    let op = self.options.workload.mix.first();
                    self.recorder.unanswered(op, due, now);
                    unanswered += 1;
                }
            }
        }
        Ok(unanswered)
    }

    fn close_all(&mut self) -> Result<(), BenchError> {
        self.phase = Phase::Close;
        for i in 0..self.conns.len() {
            let conn = &mut self.conns[i];
            if conn.state == State::Up {
                let xid = conn.take_xid();
                wire::bare(&mut conn.out, xid, wire::CLOSE_SESSION);
                conn.state = State::Closing;
                self.flush(i)?;
            } else {
                conn.drop_socket(u64::MAX);
            }
        }
        let deadline = self.now() + CLOSE_NS;
        while self.conns.iter().any(|c| c.fd.is_some()) && self.now() < deadline {
            self.turn(deadline)?;
        }
        Ok(())
    }

    fn finish(self, usage: Usage, unanswered: u64) -> (LoadReport, Created) {
        let numbered = self.generator.as_ref().map_or(0, Generator::created);
        let report = LoadReport {
            recorded: self.recorder.finish(),
            error_codes: self.error_codes,
            lost: self.lost,
            unanswered,
            reconnects: self.reconnects,
            send_lag: self.plan.is_some().then_some(self.send_lag),
            generator_cpu: usage.generator_cpu,
            server_cores: usage.server_cores,
            server_rss: usage.server_rss,
        };
        (report, Created { numbered, sequential: self.sequential })
    }

    /// Waits for events until `wake_ns` at the latest and handles them.
    fn turn(&mut self, wake_ns: u64) -> Result<(), BenchError> {
        let now = self.now();
        let wake = wake_ns.min(self.next_ping_check_ns.max(now));
        let wait = wake.saturating_sub(now);
        let timeout = Timespec {
            tv_sec: i64::try_from(wait / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (wait % 1_000_000_000) as _,
        };
        let none = Event { flags: EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        let mut events = [none; 128];
        let count = match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            Ok(n) => n,
            Err(Errno::INTR) => 0,
            Err(e) => return Err(BenchError::os("waiting for events")(e)),
        };
        for event in &events[..count] {
            let (flags, data) = (event.flags, event.data);
            let i = data.u64() as usize;
            if self.conns[i].state == State::Connecting {
                self.connected(i)?;
                continue;
            }
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                self.receive(i)?;
            }
            if flags.contains(EventFlags::OUT) {
                self.flush(i)?;
            }
        }
        if self.now() >= self.next_ping_check_ns {
            self.tend()?;
        }
        Ok(())
    }

    /// Pings sessions that have been silent, and brings lost connections back.
    fn tend(&mut self) -> Result<(), BenchError> {
        let now = self.now();
        let mut next = now + PING_CHECK_NS;
        for i in 0..self.conns.len() {
            let conn = &mut self.conns[i];
            match conn.state {
                State::Up => {
                    let silent_ms = now.saturating_sub(conn.last_sent_ns) / 1_000_000;
                    if silent_ms > conn.timeout_ms.max(0) as u64 / 3 {
                        wire::bare(&mut conn.out, wire::PING_XID, wire::PING);
                        conn.last_sent_ns = now;
                        self.flush(i)?;
                    }
                }
                State::Down { retry_ns } if matches!(self.phase, Phase::Send | Phase::Drain) => {
                    if retry_ns <= now {
                        self.reconnects += 1;
                        self.connect(i)?;
                    } else {
                        next = next.min(retry_ns);
                    }
                }
                _ => {}
            }
        }
        self.next_ping_check_ns = next;
        Ok(())
    }

    fn connect(&mut self, i: usize) -> Result<(), BenchError> {
        let peer = self.options.servers[self.conns[i].server];
        match self.conns[i].connect(&self.epoll, i, peer) {
            Ok(()) => Ok(()),
            Err(e) => self.lose(i, e.to_string()),
        }
    }

    fn connected(&mut self, i: usize) -> Result<(), BenchError> {
        match self.conns[i].begin_session(self.options.session_timeout_ms) {
            Ok(()) => self.flush(i),
            Err(e) => self.lose(i, e.to_string()),
        }
    }

    fn flush(&mut self, i: usize) -> Result<(), BenchError> {
        match self.conns[i].flush(&self.epoll, i) {
            Flush::Ok => Ok(()),
            Flush::Dead(e) => self.lose(i, e.to_string()),
        }
    }

    /// The connection is gone. Ends the run unless it may be replaced, or the run is over anyway.
    fn lose(&mut self, i: usize, reason: String) -> Result<(), BenchError> {
        let now = self.now();
        let conn = &mut self.conns[i];
        let peer = self.options.servers[conn.server];
        let over = self.phase == Phase::Close;
        if !self.options.reconnect && !over {
            return Err(BenchError::Lost { conn: i, peer, outstanding: conn.flight.len(), reason });
        }
        let retry = if over { u64::MAX } else { now + RETRY_NS };
        self.lost += conn.drop_socket(retry) as u64;
        conn.server = (conn.server + 1) % self.options.servers.len();
        self.next_ping_check_ns = self.next_ping_check_ns.min(retry);
        Ok(())
    }

    /// Reads once and handles every whole reply. Level-triggered: what is left causes another event.
    fn receive(&mut self, i: usize) -> Result<(), BenchError> {
        let conn = &mut self.conns[i];
        let Some(fd) = &conn.fd else { return Ok(()) };
        let held = conn.partial.len();
        if self.read.len() < held + READ {
            self.read.resize(held + READ, 0);
        }
        self.read[..held].copy_from_slice(&conn.partial);
        let got = match rustix::io::read(fd, &mut self.read[held..]) {
            Ok(0) => return self.lose(i, "closed by the server".into()),
            Ok(n) => n,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(e) => return self.lose(i, e.to_string()),
        };
        let now = self.now();
        let buffer = mem::take(&mut self.read);
        let result = self.understand(i, &buffer[..held + got], now);
        self.read = buffer;
        let peer = self.options.servers[self.conns[i].server];
        match result {
            Ok(()) => self.send(i),
            Err(WireError::Refused) => self.lose(i, WireError::Refused.to_string()),
            Err(source) => Err(BenchError::Wire { doing: "understanding", peer, source }),
        }
    }

    fn understand(&mut self, i: usize, bytes: &[u8], now: u64) -> Result<(), WireError> {
        let mut frames = Frames::new(bytes);
        while let Some(frame) = frames.next_frame()? {
            match self.conns[i].state {
                State::Handshaking => {
                    let conn = &mut self.conns[i];
                    conn.timeout_ms = wire::parse_connect_response(frame)?;
                    conn.state = State::Up;
                    conn.last_sent_ns = now;
                }
                State::Up => self.reply(i, frame, now)?,
                // The answer to closeSession.
                _ => {
                    self.conns[i].drop_socket(u64::MAX);
                    return Ok(());
                }
            }
        }
        let rest = &bytes[frames.consumed()..];
        let conn = &mut self.conns[i];
        conn.partial.clear();
        conn.partial.extend_from_slice(rest);
        Ok(())
    }

    fn reply(&mut self, i: usize, frame: &[u8], now: u64) -> Result<(), WireError> {
        let header = ReplyHeader::parse(frame)?;
        if header.xid == wire::PING_XID || header.xid == wire::EVENT_XID {
            return Ok(());
        }
        let conn = &mut self.conns[i];
        let expected = conn.oldest_xid;
        let Some(pending) = conn.pop() else { return Err(WireError::Unasked(header.xid)) };
        if header.xid != expected {
            return Err(WireError::XidOutOfOrder { expected, got: header.xid });
        }
        conn.last_zxid = conn.last_zxid.max(header.zxid);
        if header.err != 0 {
            *self.error_codes.entry(header.err).or_insert(0) += 1;
            return Ok(());
        }
        match pending.op {
            Op::Get => {
                let got = wire::i32_at(frame, wire::REPLY_HEADER_LEN).unwrap_or(-1);
                let expected = self.options.workload.size;
                if usize::try_from(got) != Ok(expected) {
                    return Err(WireError::DataLength { expected, got });
                }
            }
            Op::Create if self.options.workload.naming == Naming::Sequential => {
                self.note_sequential(wire::body_string(frame)?);
            }
            _ => {}
        }
        self.recorder.answered(pending.op, pending.start_ns, now);
        Ok(())
    }

    fn note_sequential(&mut self, path: &[u8]) {
        let digits = path.rsplit(|b| *b == b'-').next().unwrap_or(path);
        let Some(n) = std::str::from_utf8(digits).ok().and_then(|d| d.parse::<u64>().ok()) else { return };
        let (first, last) = self.sequential.unwrap_or((n, n));
        self.sequential = Some((first.min(n), last.max(n)));
    }

    /// Sends what the window of the connection has room for.
    fn send(&mut self, i: usize) -> Result<(), BenchError> {
        let may = match self.phase {
            Phase::Send => true,
            Phase::Drain => self.plan.is_some(),
            Phase::Connect | Phase::Close => false,
        };
        let now = self.now();
        let conn = &mut self.conns[i];
        let Some(generator) = &mut self.generator else { return Ok(()) };
        if !may || conn.state != State::Up {
            return Ok(());
        }
        while conn.flight.len() < self.options.window {
            let start_ns = match &self.plan {
                None => now,
                Some(plan) => match conn.share.take(plan) {
                    Some(due) => due,
                    None => break,
                },
            };
            let xid = conn.take_xid();
            let op = generator.push(xid, &mut conn.out);
            conn.flight.push_back(Pending { start_ns, op });
        }
        if conn.out.is_empty() {
            return Ok(());
        }
        conn.last_sent_ns = now;
        self.flush(i)
    }
}
