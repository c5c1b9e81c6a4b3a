//! Ensembles of real processes on one machine, of our kind, of Apache's, or mixed.
//!
//! A test sees members only from outside: their client ports, their logs, their directories. It can kill them, stop
//! them, take their disks away, put another kind in their place, and (with [`Plan::with_links`]) take the network
//! between them apart. What holds at the end is judged by [`load`] (nothing acknowledged is lost, nothing applied
//! twice), by [`tree`] (all members show the same) and by [`sync`] (the way a member caught up was the way meant).
//!
//! Every script is a function of a list of kinds, so that it can be tried on Apache's servers alone.

pub mod churn;
pub mod failover;
pub mod link;
pub mod load;
pub mod matrix;
pub mod member;
pub mod sync;
pub mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::cluster::link::{Links, Port};
use crate::cluster::load::Load;
use crate::cluster::member::{Member, Mode, Status};
use crate::cluster::sync::Mark;
use crate::node::{DEADLINE, Server};
use crate::place;

/// The number of a member.
pub type Sid = i64;

/// One tick. A leader or learner is given up after [`SILENCE`].
pub const TICK: Duration = Duration::from_millis(250);

/// `syncLimit` in time.
pub const SILENCE: Duration = Duration::from_millis(250 * 8);

/// A cluster to be.
#[derive(Clone, Debug)]
pub struct Plan {
    kinds: Vec<Server>,
    observers: BTreeSet<Sid>,
    links: bool,
    lines: String,
    data: BTreeMap<Sid, PathBuf>,
}

impl Plan {
    /// One member of each of these kinds, with sids from 1.
    pub fn of(kinds: &[Server]) -> Plan {
        Plan {
            kinds: kinds.to_vec(),
            observers: BTreeSet::new(),
            links: false,
            lines: String::new(),
            data: BTreeMap::new(),
        }
    }

    /// Adds an observer of this kind behind the others.
    pub fn with_observer(mut self, kind: Server) -> Plan {
        self.kinds.push(kind);
        self.observers.insert(self.kinds.len() as Sid);
        self
    }

    /// Lets all traffic between members pass a relay.
    pub fn with_links(mut self) -> Plan {
        self.links = true;
        self
    }

    /// One more line for every zoo.cfg.
    pub fn with_line(mut self, line: &str) -> Plan {
        self.lines.push_str(line);
        self.lines.push('\n');
        self
    }

    /// Puts the data directory of a member somewhere else, on a disk of its own.
    pub fn with_data(mut self, sid: Sid, data: &Path) -> Plan {
        self.data.insert(sid, data.to_path_buf());
        self
    }

    /// Fresh directories with configurations, nothing started.
    pub fn prepare(self) -> Cluster {
        let home = place::temp_dir();
        let members: Vec<Member> = (1..)
            .zip(&self.kinds)
            .map(|(sid, kind)| {
                let dir = home.path().join(format!("m{sid}"));
                let addrs = [(); 3].map(|()| place::free_addr());
                let mut member = Member::new(sid, *kind, self.observers.contains(&sid), dir, addrs);
                if let Some(data) = self.data.get(&sid) {
                    member.data.clone_from(data);
                }
                member
            })
            .collect();
        let links = self.links.then(|| {
            let ports =
                |m: &Member| [(m.sid, Port::Quorum, m.quorum_addr), (m.sid, Port::Election, m.election_addr)];
            Links::open(&members.iter().flat_map(ports).collect::<Vec<_>>())
        });
        let mut cluster = Cluster { members, links, home };
        for sid in cluster.sids() {
            let lines = self.config(&cluster, sid);
            let member = cluster.member_mut(sid);
            member.lines = lines;
            member.wipe();
        }
        cluster
    }

    /// The same, started and serving.
    pub fn start(self) -> Cluster {
        let mut cluster = self.prepare();
        cluster.spawn_all();
        cluster.wait_until_serving();
        cluster
    }

    /// The same, led by the voter with the largest sid: among equals that one wins, if it is there in time.
    pub fn start_led_by_the_last(self) -> Cluster {
        let mut cluster = self.prepare();
        let voters: Vec<Sid> = cluster.members.iter().filter(|m| !m.observer).map(|m| m.sid).collect();
        let last = *voters.last().expect("a cluster has voters");
        for _ in 0..5 {
            if cluster.members.iter().any(|m| m.kind != cluster.member(last).kind) {
                // Members of the other kind would agree before ours has seen that all are empty.
                std::fs::create_dir_all(cluster.member(last).data()).expect("making the data directory");
                std::fs::write(cluster.member(last).data().join("initialize"), b"")
                    .expect("writing the file initialize");
            }
            cluster.spawn(last);
            cluster.member_mut(last).wait_until_it_takes_part();
            for sid in cluster.sids_without(&[last]) {
                cluster.spawn(sid);
            }
            if cluster.wait_until_serving() == last {
                return cluster;
            }
            for sid in cluster.sids() {
                cluster.kill(sid);
                cluster.wipe(sid);
            }
        }
        panic!("member {last} never became the first leader");
    }

    fn config(&self, cluster: &Cluster, sid: Sid) -> String {
        let me = cluster.member(sid);
        let mut text = format!(
            "tickTime={}\ninitLimit=40\nsyncLimit=8\nmaxSessionTimeout=60000\nmaxClientCnxns=0\n\
             dataDir={}\nclientPort={}\nclientPortAddress={}\n4lw.commands.whitelist=*\n",
            TICK.as_millis(),
            me.data().display(),
            me.client_addr.port(),
            me.client_addr.ip()
        );
        text.push_str(&self.lines);
        if me.observer {
            text.push_str("peerType=observer\n");
        }
        for other in &cluster.members {
            let (quorum, election) = match &cluster.links {
                Some(links) if other.sid != sid => {
                    let door = |port| links.door(sid, other.sid, port);
                    (door(Port::Quorum), door(Port::Election))
                }
                _ => (other.quorum_addr, other.election_addr),
            };
            // A member tells the others its own address when it connects. The wildcard makes them use the one of
            // their own configuration, which is the relay.
            let hidden = cluster.links.is_some() && other.sid == sid;
            let host = if hidden { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
            let role = if other.observer { "observer" } else { "participant" };
            let (quorum, election) = (quorum.port(), election.port());
            text.push_str(&format!("server.{}={host}:{quorum}:{election}:{role}\n", other.sid));
        }
        text
    }
}

/// A cluster. All processes are killed, and the directories removed, on drop.
#[derive(Debug)]
pub struct Cluster {
    // Dropped first: no member outlives its directory.
    members: Vec<Member>,
    links: Option<Links>,
    home: tempfile::TempDir,
}

impl Cluster {
    /// The numbers of all members.
    pub fn sids(&self) -> Vec<Sid> {
        self.members.iter().map(|m| m.sid).collect()
    }

    /// All numbers but these.
    pub fn sids_without(&self, without: &[Sid]) -> Vec<Sid> {
        self.sids().into_iter().filter(|s| !without.contains(s)).collect()
    }

    /// The voters among [`Cluster::sids`] except this one.
    pub fn other_voters(&self, sid: Sid) -> Vec<Sid> {
        self.sids_without(&[sid]).into_iter().filter(|s| !self.member(*s).observer).collect()
    }

    /// One member.
    pub fn member(&self, sid: Sid) -> &Member {
        &self.members[sid as usize - 1]
    }

    fn member_mut(&mut self, sid: Sid) -> &mut Member {
        &mut self.members[sid as usize - 1]
    }

    /// The relay of a plan [`Plan::with_links`].
    pub fn links(&self) -> &Links {
        self.links.as_ref().expect("the plan has links")
    }

    /// Takes a member off the network of the others: resets all its links.
    pub fn cut_off(&self, sid: Sid) {
        for other in self.sids_without(&[sid]) {
            self.links().cut(sid, other);
        }
    }

    /// Takes a member off the network in silence: nothing it sends arrives, and nothing arrives at it.
    pub fn silence(&self, sid: Sid) {
        for other in self.sids_without(&[sid]) {
            self.links().hold(sid, other);
            self.links().hold(other, sid);
        }
    }

    /// Ends all faults of the network.
    pub fn heal(&self) {
        let sids = self.sids();
        for a in &sids {
            for b in sids.iter().filter(|b| *b > a) {
                self.links().heal(*a, *b);
            }
        }
    }

    /// Starts all members without waiting.
    pub fn spawn_all(&mut self) {
        for sid in self.sids() {
            self.spawn(sid);
        }
    }

    /// Starts a member without waiting.
    pub fn spawn(&mut self, sid: Sid) {
        self.member_mut(sid).spawn();
    }

    /// Starts a member and waits until it serves.
    pub fn launch(&mut self, sid: Sid) {
        self.spawn(sid);
        self.wait_for(&[sid], &format!("member {sid} serves"), |s| s.iter().all(Option::is_some));
    }

    /// Starts members and waits until all that are awake serve. Returns the leader's sid.
    pub fn launch_some(&mut self, sids: &[Sid]) -> Sid {
        for sid in sids {
            self.spawn(*sid);
        }
        self.wait_until_serving()
    }

    /// SIGKILL.
    pub fn kill(&mut self, sid: Sid) {
        self.member_mut(sid).kill();
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self, sid: Sid) {
        self.member_mut(sid).terminate();
    }

    /// SIGSTOP.
    pub fn pause(&mut self, sid: Sid) {
        self.member_mut(sid).pause();
    }

    /// SIGCONT.
    pub fn wake(&mut self, sid: Sid) {
        self.member_mut(sid).wake();
    }

    /// Takes the data of a member that does not run.
    pub fn wipe(&mut self, sid: Sid) {
        self.member(sid).wipe();
    }

    /// Ends a member and puts one of this kind in its place: same addresses, no data.
    pub fn replace(&mut self, sid: Sid, kind: Server) {
        if self.member(sid).runs() {
            self.terminate(sid);
        }
        self.wipe(sid);
        self.set_kind(sid, kind);
        self.launch(sid);
    }

    /// Puts a member of this kind in the place of one that does not run; the directory stays as it is.
    pub fn set_kind(&mut self, sid: Sid, kind: Server) {
        assert!(!self.member(sid).runs(), "member {sid} runs");
        self.member_mut(sid).kind = kind;
    }

    /// Adds a line to the zoo.cfg of a member, for its next start. The last line of a name counts.
    pub fn add_line(&mut self, sid: Sid, line: &str) {
        self.member_mut(sid).lines.push_str(&format!("{line}\n"));
    }

    /// Whether a member of Apache's that starts empty at this place could be brought up to date by another: under load
    /// 3.8.0 does not survive that unharmed.
    pub fn apache_may_teach_apache(&self, sid: Sid, kind: Server) -> bool {
        let others = self.sids_without(&[sid]);
        kind == Server::Apache && others.iter().any(|s| self.member(*s).kind == Server::Apache)
    }

    /// Waits until a member that runs has said this since the mark.
    pub fn wait_until_said(&mut self, mark: &Mark, sid: Sid, words: &str) {
        let start = Instant::now();
        while !self.logged_since(mark, sid).contains(words) {
            self.member_mut(sid).assert_alive();
            assert!(start.elapsed() < DEADLINE, "waited in vain for member {sid} to say {words:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until `met` holds for the states of these members, in their order.
    pub fn wait_for(&mut self, sids: &[Sid], what: &str, mut met: impl FnMut(&[Option<Status>]) -> bool) {
        let start = Instant::now();
        loop {
            for sid in sids {
                self.member_mut(*sid).assert_alive();
            }
            let states: Vec<_> = sids.iter().map(|s| self.member(*s).status()).collect();
            if met(&states) {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "waited in vain until {what}: {sids:?} are {states:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until exactly one of these members leads and the others follow or observe it.
    pub fn wait_for_leader_among(&mut self, sids: &[Sid]) -> Sid {
        let mut leader = None;
        self.wait_for(sids, "one leads and the others serve", |states| {
            let leads = |s: &Option<Status>| s.is_some_and(|s| s.mode == Mode::Leader);
            leader = states.iter().position(leads);
            states.iter().all(Option::is_some) && states.iter().filter(|s| leads(s)).count() == 1
        });
        sids[leader.expect("one leads")]
    }

    /// Waits until all that are awake serve, with one leader. Returns its sid.
    pub fn wait_until_serving(&mut self) -> Sid {
        let awake: Vec<Sid> = self.members.iter().filter(|m| m.is_awake()).map(|m| m.sid).collect();
        self.wait_for_leader_among(&awake)
    }

    /// The leader of those that are awake, which must be there.
    pub fn leader(&mut self) -> Sid {
        self.wait_until_serving()
    }

    /// A voter that follows.
    pub fn a_follower(&mut self) -> Sid {
        let leader = self.leader();
        let awake = |s: &Sid| self.member(*s).is_awake();
        self.other_voters(leader).into_iter().find(awake).expect("a follower is awake")
    }

    /// A new session at this member.
    pub fn client(&self, sid: Sid) -> Client {
        let addr = self.member(sid).client_addr;
        Client::connect(addr).unwrap_or_else(|e| panic!("connecting to member {sid} at {addr}: {e}"))
    }

    /// The client addresses of all members that are awake.
    pub fn awake_addrs(&self) -> Vec<SocketAddr> {
        self.members.iter().filter(|m| m.is_awake()).map(|m| m.client_addr).collect()
    }

    /// Starts writers that move between these members; see [`Load`].
    pub fn load(&self, label: &str, sids: &[Sid], writers: usize, window: usize) -> Load {
        let addrs: Vec<_> = sids.iter().map(|s| self.member(*s).client_addr).collect();
        Load::start(&addrs, label, writers, window)
    }

    /// What must hold whenever a script is through: all awake members show the same tree, and none ever found that a
    /// transaction led to another tree than its leader said.
    pub fn assert_sound(&mut self) {
        self.wait_until_serving();
        tree::assert_equal(self);
        for member in &self.members {
            self.assert_digests_match(member);
        }
    }

    fn assert_digests_match(&self, member: &Member) {
        let log = member.log_text();
        let bad = ["Digests are not matching", "the tree is not what it was meant to be"];
        let told: Vec<&str> = log.lines().filter(|l| bad.iter().any(|words| l.contains(words))).collect();
        // While it reads its own files, is being synchronised or loses its leader, 3.8.0 finds such digests among its own
        // kind, in trees that are equal: it notes what it applied at another moment than it applies it. A tree that is
        // really another goes on being found with every transaction.
        if let (Some(line), Server::Apache) = (told.first(), member.kind) {
            if member.is_awake() {
                let before = member.metric("zk_digest_mismatches_count");
                let mut client =
                    Client::connect(member.client_addr).expect("connecting to a member that serves");
                for n in 0..3 {
                    client
                        .create(&format!("/digest-{}-{n}", member.sid), b"", 1)
                        .expect("the member takes writes");
                }
                client.close().expect("the member takes writes");
                let after = member.metric("zk_digest_mismatches_count");
                assert_eq!(after, before, "member {} goes on finding other digests: {line}", member.sid);
            }
            return;
        }
        if let Some(line) = told.first() {
            panic!("member {} found another digest than its leader: {line}", member.sid);
        }
        if member.is_awake() {
            let count = member.metric("zk_digest_mismatches_count");
            assert_eq!(count, Some(0.0), "digest mismatches of member {}", member.sid);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for member in &self.members {
                eprintln!("{}", member.last_words());
            }
            if std::env::var_os("RINGKEEPER_KEEP").is_some() {
                self.home.disable_cleanup(true);
                eprintln!(
                    "directories, configurations and whole logs are left in {}",
                    self.home.path().display()
                );
            }
        }
        // All at once, before the first wait.
        for member in &mut self.members {
            member.kill();
        }
    }
}
