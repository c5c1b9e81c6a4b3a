//! What an ACL grants, and what an ACL that a client sends is turned into before it is stored.
//!
//! Rules: client-protocol reference 7.2 and 7.6. Entries are alternatives and there is no denial.

use std::rc::Rc;
use std::sync::Arc;

use ringkeeper_engine::jute;
use ringkeeper_engine::txn::{Acl, put_acls};

use super::auth::{AuthOptions, DIGEST, Identity, SUPER};
use crate::wire::Code;
use crate::wire::request::Acls;

/// Permission bits.
pub mod perm {
    /// Read data, list children.
    pub const READ: i32 = 1;
    /// Write data.
    pub const WRITE: i32 = 2;
    /// Create children.
    pub const CREATE: i32 = 4;
    /// Delete children.
    pub const DELETE: i32 = 8;
    /// Replace the ACL.
    pub const ADMIN: i32 = 16;
}

const WORLD: &str = "world";
const ANYONE: &str = "anyone";
const AUTH: &str = "auth";

/// Whether `acl` grants any bit of `mask` to one of the identities.
pub fn allows(options: &AuthOptions, acl: &[Acl], mask: i32, identities: &[Identity]) -> bool {
    if options.skip_acl || acl.is_empty() {
        return true;
    }
    let grants = |entry: &Acl| {
        entry.perms & mask != 0
            && ((entry.scheme == WORLD && entry.id == ANYONE)
                || identities.iter().any(|it| it.scheme == entry.scheme && options.matches(it, &entry.id)))
    };
    acl.iter().any(grants) || identities.iter().any(|it| it.scheme == SUPER)
}

/// An ACL as getACL shows it to those without ADMIN: hashes of passwords are hidden.
pub fn put_masked(out: &mut Vec<u8>, acl: &[Acl]) {
    jute::put_len(out, acl.len());
    for entry in acl {
        jute::put_i32(out, entry.perms);
        jute::put_ustring(out, &entry.scheme);
        match entry.id.split_once(':') {
            Some((user, _)) if entry.scheme == DIGEST => jute::put_ustring(out, &format!("{user}:x")),
            _ => jute::put_ustring(out, &entry.id),
        }
    }
}

/// An ACL that may be stored: as a list to judge by and as the bytes for the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedAcl {
    /// The entries.
    pub acl: Arc<[Acl]>,
    /// The same as `vector<ACL>`.
    pub encoded: Rc<[u8]>,
}

/// Remembers lists that were fixed up before: almost all creates of a client carry one and the same.
#[derive(Debug, Default)]
pub struct AclFixer {
    /// Pairs of what came and what it became, newest last; only lists that do not depend on who sent them.
    known: Vec<(Box<[u8]>, FixedAcl)>,
}

/// How many lists are remembered, and of what size at most in bytes.
const REMEMBERED: usize = 8;
const REMEMBERED_LEN: usize = 1024;

impl AclFixer {
    /// Turns the list of a create or setACL into the one to be stored, or says why it may not be.
    ///
    /// An entry of scheme `auth` stands for all that a connection has proven, so a list can become many times
    /// longer than it came. What it may take is bounded by `room` bytes, which are used up.
    pub fn fix(
        &mut self,
        options: &AuthOptions,
        given: Acls<'_>,
        identities: &[Identity],
        room: &mut usize,
    ) -> Result<FixedAcl, Code> {
        if let Some((_, fixed)) = self.known.iter().rev().find(|(came, _)| **came == *given.encoded()) {
            *room = room.checked_sub(fixed.encoded.len()).ok_or(Code::InvalidAcl)?;
            return Ok(fixed.clone());
        }
        let (acl, for_all) = fix_up(options, given, identities, room)?;
        let mut encoded = Vec::new();
        put_acls(&mut encoded, &acl);
        let fixed = FixedAcl { acl: acl.into(), encoded: encoded.into() };
        if for_all && given.encoded().len() <= REMEMBERED_LEN {
            if self.known.len() == REMEMBERED {
                self.known.remove(0);
            }
            self.known.push((given.encoded().into(), fixed.clone()));
        }
        Ok(fixed)
    }
}

/// The entries to be stored, and whether they would be the same for every connection.
fn fix_up(
    options: &AuthOptions,
    given: Acls<'_>,
    identities: &[Identity],
    room: &mut usize,
) -> Result<(Vec<Acl>, bool), Code> {
    let mut take = |bytes: usize| {
        *room = room.checked_sub(bytes).ok_or(Code::InvalidAcl)?;
        Ok::<(), Code>(())
    };
    take(4)?;
    let mut seen = hashbrown::HashSet::<_, foldhash::fast::RandomState>::default();
    let mut acl = Vec::new();
    let mut for_all = true;
    for entry in given.iter().filter(|entry| seen.insert((entry.perms, entry.scheme, entry.id))) {
        let scheme = String::from_utf8_lossy(entry.scheme.ok_or(Code::InvalidAcl)?);
        let id = entry.id.map(String::from_utf8_lossy);
        // Perms and two lengths beside the texts.
        let mut keep = |scheme: &str, id: &str| {
            take(12 + scheme.len() + id.len())?;
            Ok::<Acl, Code>(Acl { perms: entry.perms, scheme: scheme.into(), id: id.into() })
        };
        match (&*scheme, id) {
            (AUTH, _) => {
                for_all = false;
                let before = acl.len();
                for proven in identities.iter().filter(|it| it.is_authenticated()) {
                    acl.push(keep(proven.scheme, &proven.id)?);
                }
                if acl.len() == before {
                    return Err(Code::InvalidAcl);
                }
            }
            (WORLD | DIGEST | super::auth::IP, None) => return Err(Code::MarshallingError),
            (WORLD, Some(id)) if id == ANYONE => acl.push(keep(WORLD, ANYONE)?),
            (scheme, Some(id)) if options.accepts(scheme, &id) => acl.push(keep(scheme, &id)?),
            _ => return Err(Code::InvalidAcl),
        }
    }
    if acl.is_empty() { Err(Code::InvalidAcl) } else { Ok((acl, for_all)) }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::client::auth::digest_id;

    type Entry<'a> = (i32, Option<&'a str>, Option<&'a str>);

    fn encode(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        jute::put_len(&mut out, entries.len());
        for &(perms, scheme, id) in entries {
            jute::put_i32(&mut out, perms);
            jute::put_buffer(&mut out, scheme.map(str::as_bytes));
            jute::put_buffer(&mut out, id.map(str::as_bytes));
        }
        out
    }

    fn identities(auth: &[&str]) -> Vec<Identity> {
        let mut identities = vec![Identity::of_peer(IpAddr::from([127, 0, 0, 1]))];
        for auth in auth {
            AuthOptions::default()
                .authenticate(Some("digest"), Some(auth.as_bytes()), &mut identities)
                .unwrap();
        }
        identities
    }

    fn fix(bytes: &[u8], auth: &[&str]) -> Result<Vec<Acl>, Code> {
        let acls = Acls::decode_all(bytes);
        let fixed = AclFixer::default().fix(&AuthOptions::default(), acls, &identities(auth), &mut 10_000)?;
        Ok(fixed.acl.to_vec())
    }

    fn acl(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl { perms, scheme: scheme.into(), id: id.into() }
    }

    #[test]
    fn malformed_lists_are_invalid() {
        for entries in [
            &[][..],
            &[(31, None, Some("anyone"))],
            &[(31, Some("world"), Some("someone"))],
            &[(31, Some("world"), Some(""))],
            &[(31, Some("super"), Some("x"))],
            &[(31, Some("sasl"), Some("x"))],
            &[(31, Some("nothing"), None)],
            &[(31, Some("digest"), Some("a"))],
            &[(31, Some("ip"), Some("here"))],
            &[(31, Some("auth"), Some(""))],
            &[(1, Some("world"), Some("anyone")), (31, Some("auth"), None)],
        ] {
            assert_eq!(fix(&encode(entries), &[]), Err(Code::InvalidAcl), "{entries:?}");
        }
        assert_eq!(fix(&(-1i32).to_be_bytes(), &[]), Err(Code::InvalidAcl));
        for scheme in ["world", "digest", "ip"] {
            assert_eq!(fix(&encode(&[(31, Some(scheme), None)]), &[]), Err(Code::MarshallingError));
        }
    }

    #[test]
    fn duplicates_go_and_order_stays() {
        let entries = [
            (1, Some("world"), Some("anyone")),
            (31, Some("digest"), Some("a:b")),
            (1, Some("world"), Some("anyone")),
            (2, Some("world"), Some("anyone")),
        ];
        let want = [acl(1, "world", "anyone"), acl(31, "digest", "a:b"), acl(2, "world", "anyone")];
        assert_eq!(fix(&encode(&entries), &[]).unwrap(), want);
    }

    #[test]
    fn auth_stands_for_every_proven_identity() {
        let got =
            fix(&encode(&[(31, Some("auth"), None), (1, Some("auth"), Some("x"))]), &["u:p", "v:q"]).unwrap();
        let (u, v) = (digest_id("u:p"), digest_id("v:q"));
        let want = [acl(31, "digest", &u), acl(31, "digest", &v), acl(1, "digest", &u), acl(1, "digest", &v)];
        assert_eq!(got, want);
    }

    #[test]
    fn a_list_with_auth_is_never_remembered_for_another_connection() {
        let bytes = encode(&[(31, Some("auth"), None)]);
        let options = AuthOptions::default();
        let mut fixer = AclFixer::default();
        assert!(fixer.fix(&options, Acls::decode_all(&bytes), &identities(&["u:p"]), &mut 1000).is_ok());
        assert_eq!(
            fixer.fix(&options, Acls::decode_all(&bytes), &identities(&[]), &mut 1000),
            Err(Code::InvalidAcl)
        );
    }

    #[test]
    fn one_granted_bit_of_the_mask_is_enough() {
        let options = AuthOptions::default();
        let list = [acl(perm::ADMIN, "digest", &digest_id("u:p")), acl(perm::READ, "ip", "127.0.0.0/8")];
        let (nobody, user) = (identities(&[]), identities(&["u:p"]));
        assert!(allows(&options, &list, perm::READ, &nobody));
        assert!(!allows(&options, &list, perm::ADMIN, &nobody));
        assert!(allows(&options, &list, perm::READ | perm::ADMIN, &nobody));
        assert!(allows(&options, &list, perm::ADMIN, &user));
        assert!(!allows(&options, &list, perm::WRITE, &user));
        assert!(allows(&options, &[], perm::WRITE, &nobody));
        assert!(allows(&AuthOptions { skip_acl: true, ..options }, &list, perm::WRITE, &nobody));
    }

    #[test]
    fn the_super_user_may_do_everything() {
        let options = AuthOptions::default();
        let mut identities = identities(&[]);
        identities.push(Identity { scheme: SUPER, id: "".into() });
        assert!(allows(&options, &[acl(0, "world", "anyone")], perm::WRITE, &identities));
    }

    #[test]
    fn an_expanded_list_takes_no_more_than_its_room() {
        let proven: Vec<String> = (0..100).map(|n| format!("user{n}:p")).collect();
        let proven = identities(&proven.iter().map(String::as_str).collect::<Vec<_>>());
        let entries: Vec<Entry<'_>> = (0..1000).map(|perms| (perms, Some("auth"), None)).collect();
        let bytes = encode(&entries);
        let mut fixer = AclFixer::default();
        let options = AuthOptions::default();
        let mut fix =
            |bytes: &[u8], room: &mut usize| fixer.fix(&options, Acls::decode_all(bytes), &proven, room);
        assert_eq!(fix(&bytes, &mut 100_000), Err(Code::InvalidAcl));
        let one = encode(&entries[1..2]);
        let mut room = 100_000;
        let fixed = fix(&one, &mut room).unwrap();
        assert_eq!((fixed.acl.len(), 100_000 - room), (100, fixed.encoded.len()));
        let mut exact = fixed.encoded.len();
        assert!(fix(&one, &mut exact).is_ok());
        assert_eq!(fix(&one, &mut (fixed.encoded.len() - 1)), Err(Code::InvalidAcl));
    }
}
