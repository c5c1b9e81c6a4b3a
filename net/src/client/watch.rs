//! Who waits for changes of which path.
//!
//! A watch is one record per (path, connection), threaded into the list of its path and the list of its
//! connection, so that both a change and a disconnect find their watches without a search; a hash table of
//! record numbers answers "is it set already". The reference's two tables, data and child, are flags of the
//! record: a connection with both on one path is visited once.
//!
//! Nothing here knows ACLs, frames or the tree: [`Watches::fire`] names the connections, the caller filters and
//! sends.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;

use super::path;

const NIL: u32 = u32::MAX;

/// Kinds of watches, combinable.
pub mod mode {
    /// One-shot, in the data table: set by exists and getData.
    pub const DATA: u8 = 1;
    /// One-shot, in the child table: set by getChildren.
    pub const CHILD: u8 = 2;
    /// Stays when it fires, in both tables.
    pub const PERSISTENT: u8 = 4;
    /// Stays when it fires, in the data table, for the node and everything below it.
    pub const RECURSIVE: u8 = 8;
    /// Every kind.
    pub const ANY: u8 = DATA | CHILD | PERSISTENT | RECURSIVE;
    /// What hears of the node's creation, deletion and data.
    pub const DATA_TABLE: u8 = DATA | PERSISTENT | RECURSIVE;
    /// What hears of the node's children.
    pub const CHILD_TABLE: u8 = CHILD | PERSISTENT;
}

/// What happened to the node, as far as it decides who hears of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Its data changed or it was created: the data table, and the recursive watches above.
    Data,
    /// It was deleted: the same, then its child table, each connection once.
    Deleted,
    /// A child came or went: the child table of exactly this path.
    Children,
}

#[derive(Debug)]
struct Watch {
    path: u32,
    conn: u32,
    path_prev: u32,
    path_next: u32,
    conn_prev: u32,
    conn_next: u32,
    modes: u8,
}

#[derive(Debug)]
struct Watched {
    path: Box<str>,
    /// First watch; its `path_prev` is the last one, so that watches fire in the order in which they were set.
    head: u32,
    /// How many watches carry a mode of the data and of the child table.
    data: u32,
    child: u32,
}

/// All watches of the connections of this server. Connections are known by their number in the caller's slab.
#[derive(Debug, Default)]
pub struct Watches {
    watches: Slab<Watch>,
    paths: Slab<Watched>,
    path_index: HashTable<u32>,
    watch_index: HashTable<u32>,
    conns: Vec<Waiting>,
    total: usize,
    recursive: usize,
    hasher: RandomState,
    /// Number of the change being told.
    change: u64,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Its first watch.
    head: u32,
    /// The last change it was told of.
    told: u64,
}

/// Numbers for the monitoring words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WatchCounts {
    /// Pairs of the data table.
    pub data: usize,
    /// Paths with at least one watch of the data table.
    pub data_paths: usize,
    /// Connections with at least one watch of the data table.
    pub data_conns: usize,
}

impl Watches {
    /// Sets watches of the given modes; setting one twice changes nothing.
    pub fn add(&mut self, conn: u32, path: &str, modes: u8) {
        let path = self.intern(path::key(path));
        let at = match self.find_watch(path, conn) {
            Some(at) => at,
            None => self.insert_watch(path, conn),
        };
        self.set_modes(at, self.watches[at as usize].modes | modes);
    }

    /// The modes that a connection has on a path; 0 for none.
    pub fn modes(&self, conn: u32, path: &str) -> u8 {
        self.find_path(path::key(path))
            .and_then(|path| self.find_watch(path, conn))
            .map_or(0, |at| self.watches[at as usize].modes)
    }

    /// Takes away watches of the given modes and answers those that were there.
    pub fn remove(&mut self, conn: u32, path: &str, modes: u8) -> u8 {
        let Some(at) = self.find_path(path::key(path)).and_then(|path| self.find_watch(path, conn)) else {
            return 0;
        };
        let had = self.watches[at as usize].modes & modes;
        self.set_modes(at, self.watches[at as usize].modes & !modes);
        had
    }

    /// Takes away all watches of a connection that ends.
    pub fn remove_conn(&mut self, conn: u32) {
        while let Some(at) = self.conns.get(conn as usize).map(|waiting| waiting.head).filter(|&at| at != NIL)
        {
            self.set_modes(at, 0);
        }
    }

    /// Names every connection that hears of the change, each once, and takes away the one-shot watches that fired.
    ///
    /// `path` is the node's, or the parent's for [`Change::Children`]; the root is `""` or `/`. The order of
    /// connections is that in which they set their watches, those of ancestors last.
    pub fn fire(&mut self, path: &str, change: Change, mut hear: impl FnMut(u32)) {
        if self.watches.is_empty() {
            return;
        }
        self.change += 1;
        let path = path::key(path);
        if let Some(id) = self.find_path(path) {
            let (tables, spent) = match change {
                Change::Data => (mode::DATA_TABLE, mode::DATA),
                Change::Deleted => (mode::ANY, mode::DATA | mode::CHILD),
                Change::Children => (mode::CHILD_TABLE, mode::CHILD),
            };
            self.fire_path(id, tables, spent, &mut hear);
        }
        if change != Change::Children && self.recursive > 0 {
            let mut above = path;
            while !above.is_empty() {
                above = path::parent_of(above);
                if let Some(id) = self.find_path(above) {
                    self.fire_path(id, mode::RECURSIVE, 0, &mut hear);
                }
            }
        }
    }

    fn fire_path(&mut self, id: u32, tables: u8, spent: u8, hear: &mut impl FnMut(u32)) {
        let watched = &self.paths[id as usize];
        let data = tables & mode::DATA_TABLE != 0 && watched.data > 0;
        let child = tables & mode::CHILD_TABLE != 0 && watched.child > 0;
        let mut at = if data || child { watched.head } else { NIL };
        while at != NIL {
            let watch = &self.watches[at as usize];
            let (next, conn, modes) = (watch.path_next, watch.conn, watch.modes);
            if modes & tables != 0 {
                let waiting = &mut self.conns[conn as usize];
                if waiting.told != self.change {
                    waiting.told = self.change;
                    hear(conn);
                }
                if modes & spent != 0 {
                    self.set_modes(at, modes & !spent);
                }
            }
            at = next;
        }
    }

    /// (path, connection) pairs of both tables.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Numbers for `wchs`; costs a walk over all watches.
    pub fn counts(&self) -> WatchCounts {
        let mut counts = WatchCounts::default();
        for (_, watch) in &self.watches {
            counts.data += usize::from(watch.modes & mode::DATA_TABLE != 0);
        }
        counts.data_paths = self.paths.iter().filter(|(_, watched)| watched.data > 0).count();
        counts.data_conns = (0..self.conns.len() as u32)
            .filter(|&conn| self.of_conn(conn).any(|(_, modes)| modes & mode::DATA_TABLE != 0))
            .count();
        counts
    }

    /// The watches of a connection: path (the root as `/`) and modes.
    pub fn of_conn(&self, conn: u32) -> impl Iterator<Item = (&str, u8)> {
        let mut at = self.conns.get(conn as usize).map_or(NIL, |waiting| waiting.head);
        std::iter::from_fn(move || {
            let watch = self.watches.get(at as usize)?;
            at = watch.conn_next;
            Some((path::shown(&self.paths[watch.path as usize].path), watch.modes))
        })
    }

    fn find_path(&self, path: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(path);
        self.path_index.find(hash, |&id| &*self.paths[id as usize].path == path).copied()
    }

    fn intern(&mut self, path: &str) -> u32 {
        if let Some(id) = self.find_path(path) {
            return id;
        }
        let id = self.paths.insert(Watched { path: path.into(), head: NIL, data: 0, child: 0 }) as u32;
        let (hasher, paths) = (&self.hasher, &self.paths);
        self.path_index
            .insert_unique(hasher.hash_one(path), id, |&id| hasher.hash_one(&*paths[id as usize].path));
        id
    }

    fn find_watch(&self, path: u32, conn: u32) -> Option<u32> {
        let hash = self.hasher.hash_one((path, conn));
        let is_it = |&at: &u32| {
            let watch = &self.watches[at as usize];
            watch.path == path && watch.conn == conn
        };
        self.watch_index.find(hash, is_it).copied()
    }

    /// A record without modes yet.
    fn insert_watch(&mut self, path: u32, conn: u32) -> u32 {
        if self.conns.len() <= conn as usize {
            self.conns.resize(conn as usize + 1, Waiting { head: NIL, told: 0 });
        }
        let path_head = self.paths[path as usize].head;
        let conn_head = self.conns[conn as usize].head;
        let at = self.watches.vacant_key() as u32;
        let path_prev = match path_head {
            NIL => at,
            head => std::mem::replace(&mut self.watches[head as usize].path_prev, at),
        };
        self.watches.insert(Watch {
            path,
            conn,
            path_prev,
            path_next: NIL,
            conn_prev: NIL,
            conn_next: conn_head,
            modes: 0,
        });
        match path_head {
            NIL => self.paths[path as usize].head = at,
            _ => self.watches[path_prev as usize].path_next = at,
        }
        if conn_head != NIL {
            self.watches[conn_head as usize].conn_prev = at;
        }
        self.conns[conn as usize].head = at;
        let (hasher, watches) = (&self.hasher, &self.watches);
        self.watch_index.insert_unique(hasher.hash_one((path, conn)), at, |&at| {
            let watch = &watches[at as usize];
            hasher.hash_one((watch.path, watch.conn))
        });
        at
    }

    /// Gives a record its modes and keeps the counts; a record without modes goes away, and its path after it.
    fn set_modes(&mut self, at: u32, modes: u8) {
        let watch = &mut self.watches[at as usize];
        let had = std::mem::replace(&mut watch.modes, modes);
        let path = watch.path;
        let watched = &mut self.paths[path as usize];
        recount(&mut watched.data, had & mode::DATA_TABLE, modes & mode::DATA_TABLE);
        recount(&mut watched.child, had & mode::CHILD_TABLE, modes & mode::CHILD_TABLE);
        let in_tables = |modes: u8| {
            usize::from(modes & mode::DATA_TABLE != 0) + usize::from(modes & mode::CHILD_TABLE != 0)
        };
        self.total = self.total + in_tables(modes) - in_tables(had);
        self.recursive += usize::from(modes & mode::RECURSIVE != 0);
        self.recursive -= usize::from(had & mode::RECURSIVE != 0);
        if modes == 0 {
            self.free(at);
        }
    }

    fn free(&mut self, at: u32) {
        let watch = self.watches.remove(at as usize);
        let hash = self.hasher.hash_one((watch.path, watch.conn));
        if let Ok(entry) = self.watch_index.find_entry(hash, |&it| it == at) {
            entry.remove();
        }
        match watch.conn_prev {
            NIL => self.conns[watch.conn as usize].head = watch.conn_next,
            prev => self.watches[prev as usize].conn_next = watch.conn_next,
        }
        if watch.conn_next != NIL {
            self.watches[watch.conn_next as usize].conn_prev = watch.conn_prev;
        }
        let watched = &mut self.paths[watch.path as usize];
        if watched.head == at {
            watched.head = watch.path_next;
        } else {
            self.watches[watch.path_prev as usize].path_next = watch.path_next;
        }
        let head = watched.head;
        if head == NIL {
            let hash = self.hasher.hash_one(&*watched.path);
            if let Ok(entry) = self.path_index.find_entry(hash, |&it| it == watch.path) {
                entry.remove();
            }
            self.paths.remove(watch.path as usize);
            return;
        }
        // The one behind learns who is before it; behind the last one stands the head's back reference.
        let behind = if watch.path_next == NIL { head } else { watch.path_next };
        self.watches[behind as usize].path_prev = watch.path_prev;
    }
}

fn recount(count: &mut u32, had: u8, has: u8) {
    *count += u32::from(has != 0);
    *count -= u32::from(had != 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(watches: &mut Watches, path: &str, change: Change) -> Vec<u32> {
        let mut conns = Vec::new();
        watches.fire(path, change, |conn| conns.push(conn));
        conns
    }

    #[test]
    fn one_shot_watches_fire_once_in_the_order_they_were_set() {
        let mut watches = Watches::default();
        for conn in [3, 1, 2, 1] {
            watches.add(conn, "/a", mode::DATA);
        }
        assert_eq!(fired(&mut watches, "/b", Change::Data), []);
        assert_eq!(fired(&mut watches, "/a", Change::Children), []);
        assert_eq!(fired(&mut watches, "/a", Change::Data), [3, 1, 2]);
        assert_eq!(fired(&mut watches, "/a", Change::Data), []);
        assert!(watches.watches.is_empty() && watches.paths.is_empty() && watches.path_index.is_empty());
    }

    #[test]
    fn deletion_is_told_once_to_a_connection_with_both_kinds() {
        let mut watches = Watches::default();
        watches.add(1, "/a", mode::DATA);
        watches.add(1, "/a", mode::CHILD);
        watches.add(2, "/a", mode::CHILD);
        assert_eq!(fired(&mut watches, "/a", Change::Deleted), [1, 2]);
        assert!(watches.watches.is_empty());
    }

    #[test]
    fn a_data_event_leaves_the_child_watch_in_place() {
        let mut watches = Watches::default();
        watches.add(1, "/a", mode::DATA | mode::CHILD);
        assert_eq!(fired(&mut watches, "/a", Change::Data), [1]);
        assert_eq!(watches.modes(1, "/a"), mode::CHILD);
        assert_eq!(fired(&mut watches, "/a", Change::Children), [1]);
    }

    #[test]
    fn both_names_of_the_root_are_one() {
        let mut watches = Watches::default();
        watches.add(1, "/", mode::CHILD);
        assert_eq!(fired(&mut watches, "", Change::Children), [1]);
        watches.add(1, "", mode::CHILD);
        assert_eq!(watches.of_conn(1).collect::<Vec<_>>(), [("/", mode::CHILD)]);
        assert_eq!(fired(&mut watches, "/", Change::Children), [1]);
    }

    #[test]
    fn persistent_watches_stay_and_recursive_ones_hear_from_below_but_not_of_children() {
        let mut watches = Watches::default();
        watches.add(1, "/a", mode::PERSISTENT);
        watches.add(2, "/a", mode::RECURSIVE);
        watches.add(3, "/", mode::RECURSIVE);
        for _ in 0..2 {
            assert_eq!(fired(&mut watches, "/a/b/c", Change::Data), [2, 3]);
            assert_eq!(fired(&mut watches, "/a", Change::Deleted), [1, 2, 3]);
            assert_eq!(fired(&mut watches, "/a", Change::Children), [1]);
        }
        assert_eq!(watches.remove(2, "/a", mode::DATA), 0);
        assert_eq!(watches.remove(2, "/a", mode::ANY), mode::RECURSIVE);
        assert_eq!(fired(&mut watches, "/ab", Change::Data), [3]);
    }

    #[test]
    fn a_connection_takes_its_watches_with_it_and_no_others() {
        let mut watches = Watches::default();
        for conn in 0..4 {
            for path in ["/a", "/b", "/c"] {
                watches.add(conn, path, mode::DATA);
            }
        }
        watches.remove_conn(0);
        watches.remove_conn(3);
        watches.remove_conn(9);
        watches.add(0, "/b", mode::DATA);
        assert_eq!(watches.total(), 7);
        assert_eq!(watches.counts(), WatchCounts { data: 7, data_paths: 3, data_conns: 3 });
        assert_eq!(fired(&mut watches, "/b", Change::Data), [1, 2, 0]);
        assert_eq!(fired(&mut watches, "/a", Change::Data), [1, 2]);
    }

    #[test]
    fn random_histories_agree_with_a_plain_set() {
        use std::collections::BTreeSet;
        let paths = ["", "/a", "/a/b", "/a/b/c", "/d"];
        let kinds = [mode::DATA, mode::CHILD, mode::PERSISTENT, mode::RECURSIVE];
        let mut random = fastrand::Rng::with_seed(5);
        let mut watches = Watches::default();
        let mut model: BTreeSet<(u32, &str, u8)> = BTreeSet::new();
        for _ in 0..20_000 {
            let (conn, path, kind) = (random.u32(..6), paths[random.usize(..5)], kinds[random.usize(..4)]);
            match random.u8(..8) {
                0..4 => {
                    watches.add(conn, path, kind);
                    model.insert((conn, path, kind));
                }
                4 => assert_eq!(watches.remove(conn, path, kind) != 0, model.remove(&(conn, path, kind))),
                5 if random.u8(..8) == 0 => {
                    watches.remove_conn(conn);
                    model.retain(|&(c, ..)| c != conn);
                }
                _ => {
                    let change = [Change::Data, Change::Deleted, Change::Children][random.usize(..3)];
                    let mut told = fired(&mut watches, path, change);
                    told.sort_unstable();
                    let hears = |&(_, at, kind): &(u32, &str, u8)| {
                        let below = path.starts_with(at)
                            && matches!(path.as_bytes().get(at.len()), None | Some(b'/'));
                        match change {
                            Change::Children => at == path && kind & mode::CHILD_TABLE != 0,
                            Change::Data => {
                                (at == path && kind & mode::DATA_TABLE != 0)
                                    || (below && kind == mode::RECURSIVE)
                            }
                            Change::Deleted => at == path || (below && kind == mode::RECURSIVE),
                        }
                    };
                    let want: BTreeSet<u32> = model.iter().filter(|&it| hears(it)).map(|it| it.0).collect();
                    assert_eq!(told, want.into_iter().collect::<Vec<_>>());
                    let spent = match change {
                        Change::Data => mode::DATA,
                        Change::Deleted => mode::DATA | mode::CHILD,
                        Change::Children => mode::CHILD,
                    };
                    model.retain(|&(_, at, kind)| at != path || kind & spent == 0);
                }
            }
        }
    }
}
