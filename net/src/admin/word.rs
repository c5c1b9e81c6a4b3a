//! The four-letter words themselves: how they are recognised and which of them are answered.
//!
//! A word stands where the length of the first frame of a connection would stand. All words are larger than any
//! frame may be, so there is no doubt which is which. Front loops ask [`Word::from_bytes`] before they look at a
//! length; everything after that is decided by [`super::admit`].

use std::fmt;

/// A word of the reference server. The discriminant is its bit in a [`Whitelist`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "docs/operations.md has the table")]
pub enum Word {
    Ruok,
    Srvr,
    Stat,
    Conf,
    Cons,
    Crst,
    Srst,
    Dirs,
    Dump,
    Envi,
    Gtmk,
    Stmk,
    Hash,
    Isro,
    Mntr,
    Wchs,
    Wchc,
    Wchp,
    /// What a telnet client sends when it is interrupted: answered like a word that is not allowed.
    TelnetClose,
}

use Word::*;

impl Word {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Word; 19] = [
        Ruok,
        Srvr,
        Stat,
        Conf,
        Cons,
        Crst,
        Srst,
        Dirs,
        Dump,
        Envi,
        Gtmk,
        Stmk,
        Hash,
        Isro,
        Mntr,
        Wchs,
        Wchc,
        Wchp,
        TelnetClose,
    ];

    /// The word that the first four bytes of a connection are, if they are one.
    pub const fn from_bytes(first: [u8; 4]) -> Option<Word> {
        Some(match &first {
            b"ruok" => Ruok,
            b"srvr" => Srvr,
            b"stat" => Stat,
            b"conf" => Conf,
            b"cons" => Cons,
            b"crst" => Crst,
            b"srst" => Srst,
            b"dirs" => Dirs,
            b"dump" => Dump,
            b"envi" => Envi,
            b"gtmk" => Gtmk,
            b"stmk" => Stmk,
            b"hash" => Hash,
            b"isro" => Isro,
            b"mntr" => Mntr,
            b"wchs" => Wchs,
            b"wchc" => Wchc,
            b"wchp" => Wchp,
            [0xff, 0xf4, 0xff, 0xfd] => TelnetClose,
            _ => return None,
        })
    }

    /// As it is typed.
    pub const fn name(self) -> &'static str {
        match self {
            Ruok => "ruok",
            Srvr => "srvr",
            Stat => "stat",
            Conf => "conf",
            Cons => "cons",
            Crst => "crst",
            Srst => "srst",
            Dirs => "dirs",
            Dump => "dump",
            Envi => "envi",
            Gtmk => "gtmk",
            Stmk => "stmk",
            Hash => "hash",
            Isro => "isro",
            Mntr => "mntr",
            Wchs => "wchs",
            Wchc => "wchc",
            Wchp => "wchp",
            TelnetClose => "telnet close",
        }
    }

    /// Bytes that belong to the word behind its four: 8 for `stmk` (a mask, big-endian), else 0. Anything more
    /// that a client sends (a newline, say) is ignored.
    pub const fn argument_len(self) -> usize {
        match self {
            Stmk => 8,
            _ => 0,
        }
    }

    /// Whether the word has an answer only while the node serves requests.
    pub const fn needs_serving(self) -> bool {
        !matches!(self, Ruok | Envi | Gtmk | Stmk | Isro | TelnetClose)
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// The words that are answered; the others get one line that says so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Whitelist(u32);

impl Whitelist {
    /// The reference's default, and what every list has: `srvr`.
    pub const fn reference() -> Whitelist {
        Whitelist(Srvr.bit())
    }

    /// Without a zoo.cfg the node listens on this machine only, and these words cost little and change
    /// nothing: `ruok`, `srvr`, `stat`, `envi`, `mntr`, `conf`, `isro`.
    pub const fn embedded() -> Whitelist {
        Whitelist(Ruok.bit() | Srvr.bit() | Stat.bit() | Envi.bit() | Mntr.bit() | Conf.bit() | Isro.bit())
    }

    /// Reads `4lw.commands.whitelist`: names separated by commas, blanks around them ignored, in lower case;
    /// `*` is all of them. `srvr` is always in. Also returns the names that are no words.
    pub fn parse(list: &str) -> (Whitelist, Vec<&str>) {
        let mut allowed = Whitelist::reference();
        let mut unknown = Vec::new();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match Word::ALL.into_iter().find(|word| word.name() == name) {
                _ if name == "*" => {
                    allowed = Whitelist(Word::ALL.iter().fold(0, |bits, word| bits | word.bit()))
                }
                Some(word) => allowed.allow(word),
                None => unknown.push(name),
            }
        }
        (allowed, unknown)
    }

    /// Adds one word.
    pub fn allow(&mut self, word: Word) {
        self.0 |= word.bit();
    }

    /// Whether `word` is answered.
    pub const fn allows(self, word: Word) -> bool {
        self.0 & word.bit() != 0
    }
}

impl fmt::Debug for Whitelist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Word::ALL.iter().filter(|word| self.allows(**word)).map(|w| w.name())).finish()
    }
}
