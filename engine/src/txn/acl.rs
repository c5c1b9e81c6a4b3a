//! Access control lists: owned for those who judge them, still encoded for those who only pass them on.

use crate::jute::{self, JuteError, Reader};

/// One entry: what whoever matches `scheme:id` may do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Acl {
    /// Permission bits: READ 1, WRITE 2, CREATE 4, DELETE 8, ADMIN 16.
    pub perms: i32,
    /// How identities are compared: `world`, `digest`, `ip`, ...
    pub scheme: String,
    /// The identity within the scheme.
    pub id: String,
}

impl Acl {
    /// All permission bits.
    pub const ALL: i32 = 31;
    /// The permission to read data and children.
    pub const READ: i32 = 1;

    /// Everybody may do what `perms` says.
    pub fn world(perms: i32) -> Acl {
        Acl { perms, scheme: "world".into(), id: "anyone".into() }
    }
}

/// One entry, borrowed. Scheme and id are raw bytes: the reference writes characters above U+FFFF in a way that is
/// not UTF-8, and a log must not become unreadable by that. Null reads as empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AclRef<'a> {
    /// Permission bits.
    pub perms: i32,
    /// How identities are compared.
    pub scheme: &'a [u8],
    /// The identity within the scheme.
    pub id: &'a [u8],
}

impl AclRef<'_> {
    fn to_owned(self) -> Acl {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Acl { perms: self.perms, scheme: text(self.scheme), id: text(self.id) }
    }
}

/// perms, and two strings that may be empty.
const MIN_ACL_BYTES: usize = 12;

/// A validated `vector<ACL>`, still encoded, its count included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AclList<'a> {
    count: Option<usize>,
    encoded: &'a [u8],
}

impl<'a> AclList<'a> {
    /// The null list: everybody may do everything.
    pub const NULL: AclList<'static> = AclList { count: None, encoded: &[0xff; 4] };

    /// Reads and validates a list; afterwards the reader stands behind it.
    pub fn read(reader: &mut Reader<'a>) -> Result<AclList<'a>, JuteError> {
        let start = reader.position();
        let count = reader.count(MIN_ACL_BYTES)?;
        for _ in 0..count.unwrap_or(0) {
            read_entry(reader)?;
        }
        Ok(AclList { count, encoded: reader.since(start) })
    }

    /// Encodes `acls` into `out` (cleared first) and borrows the list from there.
    pub fn encode(acls: &[Acl], out: &'a mut Vec<u8>) -> AclList<'a> {
        out.clear();
        put_acls(out, acls);
        AclList { count: Some(acls.len()), encoded: out }
    }

    /// The bytes, count included, as they stand in a record.
    pub fn encoded(&self) -> &'a [u8] {
        self.encoded
    }

    /// Whether this is the null list, which differs from an empty one.
    pub fn is_null(&self) -> bool {
        self.count.is_none()
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.count.unwrap_or(0)
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = AclRef<'a>> + use<'a> {
        let mut reader = Reader::new(&self.encoded[4..]);
        (0..self.len()).map_while(move |_| read_entry(&mut reader).ok())
    }

    /// The entries, owned; text that is not UTF-8 has replacement characters.
    pub fn to_acls(&self) -> Vec<Acl> {
        self.iter().map(AclRef::to_owned).collect()
    }
}

fn read_entry<'a>(reader: &mut Reader<'a>) -> Result<AclRef<'a>, JuteError> {
    Ok(AclRef {
        perms: reader.i32()?,
        scheme: reader.ustring()?.unwrap_or_default(),
        id: reader.ustring()?.unwrap_or_default(),
    })
}

/// Appends a `vector<ACL>`.
pub fn put_acls(out: &mut Vec<u8>, acls: &[Acl]) {
    jute::put_len(out, acls.len());
    for acl in acls {
        jute::put_i32(out, acl.perms);
        jute::put_ustring(out, &acl.scheme);
        jute::put_ustring(out, &acl.id);
    }
}
