//! Quorum connections and election messages as data: what was sent and has not arrived.
//!
//! A quorum connection is two ordered streams of bytes that arrive in pieces of any size, or no more. Of election
//! messages only the newest unsent one counts; the last one is told again over a new connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ringkeeper_net::wire::election::Notification;
use ringkeeper_net::zab::event::Link;

use super::tap::Tap;

/// An end of a quorum connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Learner,
    Leader,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Learner, Side::Leader];

    pub fn other(self) -> Side {
        match self {
            Side::Learner => Side::Leader,
            Side::Leader => Side::Learner,
        }
    }
}

/// A server's end.
#[derive(Debug)]
pub struct End {
    pub machine: usize,
    pub link: Link,
    /// The server has not closed it.
    pub open: bool,
    /// The server knows of it: it connected, or has received something.
    pub known: bool,
    /// Arrived and not taken yet.
    pub arrived: Vec<u8>,
    /// Nothing more will arrive.
    pub ended: bool,
    /// Sent to this end and not arrived.
    pub coming: VecDeque<u8>,
    /// The other end has closed it, behind what is coming.
    pub closing: bool,
    /// An arrival is planned.
    pub planned: bool,
    /// Nothing arrives before this time.
    pub stalled_until: u64,
}

/// A quorum connection.
#[derive(Debug)]
pub struct Conn {
    pub ends: [End; 2],
    pub tap: Tap,
}

impl Conn {
    pub fn new(learner: usize, leader: usize, links: [Link; 2]) -> Conn {
        let end = |machine, link, known| End {
            machine,
            link,
            open: true,
            known,
            arrived: Vec::new(),
            ended: false,
            coming: VecDeque::new(),
            closing: false,
            planned: false,
            stalled_until: 0,
        };
        Conn { ends: [end(learner, links[0], true), end(leader, links[1], false)], tap: Tap::default() }
    }

    pub fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    pub fn peek(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }
}

/// Messages of one member for another.
#[derive(Debug, Default)]
pub struct Words {
    /// Not sent.
    pub unsent: Option<Notification>,
    /// The last one that was sent.
    pub told: Option<Notification>,
    /// Sent and not arrived, with its number.
    pub flying: Option<(u64, Notification)>,
}

impl Words {
    /// Over a new connection what was told last is told again.
    pub fn again(&mut self) {
        self.flying = None;
        self.unsent = self.unsent.or(self.told);
    }
}

/// A direction in which nothing gets through.
pub type Way = (usize, usize);

/// A partition: all the ways that it blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub number: u64,
    pub ways: Vec<Way>,
}

/// The network between servers.
#[derive(Debug, Default)]
pub struct Net {
    pub conns: BTreeMap<u64, Conn>,
    pub words: BTreeMap<Way, Words>,
    pub cuts: Vec<Cut>,
    blocked: BTreeSet<Way>,
    next: u64,
}

impl Net {
    /// A number that was never used.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn blocks(&self, from: usize, to: usize) -> bool {
        self.blocked.contains(&(from, to))
    }

    pub fn cut(&mut self, cut: Cut) {
        self.cuts.push(cut);
        self.find_blocked();
    }

    pub fn mend(&mut self, number: u64) {
        self.cuts.retain(|cut| cut.number != number);
        self.find_blocked();
    }

    fn find_blocked(&mut self) {
        self.blocked = self.cuts.iter().flat_map(|cut| cut.ways.iter().copied()).collect();
    }

    /// The open ends of a server, as connection and side, in the order of their making.
    pub fn ends_of(&self, machine: usize) -> Vec<(u64, Side)> {
        let mine = |(&id, conn): (&u64, &Conn)| {
            let side = Side::BOTH.into_iter().find(|&side| conn.peek(side).machine == machine)?;
            conn.peek(side).open.then_some((id, side))
        };
        self.conns.iter().filter_map(mine).collect()
    }

    /// The end that a server calls by this name.
    pub fn find(&self, machine: usize, link: Link) -> Option<(u64, Side)> {
        self.ends_of(machine).into_iter().find(|&(id, side)| self.conns[&id].peek(side).link == link)
    }

    /// Forgets a connection that both ends have closed.
    pub fn tidy(&mut self, conn: u64) {
        if self.conns.get(&conn).is_some_and(|it| it.ends.iter().all(|end| !end.open)) {
            self.conns.remove(&conn);
        }
    }
}
