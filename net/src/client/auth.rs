//! Who a connection is: its identities, and the providers that add them and judge ACL ids.
//!
//! Known schemes are `digest` and `ip`, what the reference registers by default; `world` is no provider and
//! `super` is only ever the result of the right digest (client-protocol reference 7.3 to 7.5). Nothing here reads
//! a node's ACL: that is [`super::acl`].

use std::net::{IpAddr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// Scheme of the identity that every connection begins with.
pub const IP: &str = "ip";
/// Scheme of users with a password.
pub const DIGEST: &str = "digest";
/// Scheme of the identity to which everything is allowed.
pub const SUPER: &str = "super";

/// One identity of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// How it was proven.
    pub scheme: &'static str,
    /// Who it is within the scheme.
    pub id: Box<str>,
}

impl Identity {
    /// The identity that follows from the peer's address, written as Java writes addresses.
    pub fn of_peer(address: IpAddr) -> Identity {
        let id = match address.to_canonical() {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => v6.segments().map(|segment| format!("{segment:x}")).join(":"),
        };
        Identity { scheme: IP, id: id.into() }
    }

    /// Makes `list` what came with a request, reusing what it holds. Schemes that no ACL here can name are left out.
    pub(super) fn assign<'a>(list: &mut Vec<Identity>, came: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        let mut len = 0;
        for (scheme, id) in came {
            let known = [IP, DIGEST, SUPER].into_iter().find(|known| known.as_bytes() == scheme);
            let Some(scheme) = known else { continue };
            let is_it = |it: &Identity| it.scheme == scheme && it.id.as_bytes() == id;
            if !list.get(len).is_some_and(is_it) {
                list.truncate(len);
                list.push(Identity { scheme, id: String::from_utf8_lossy(id).into() });
            }
            len += 1;
        }
        list.truncate(len);
    }

    /// What whoAmI tells of it: never the hash of a password.
    pub fn user(&self) -> &str {
        match self.scheme {
            DIGEST => self.id.split(':').next().unwrap_or_default(),
            _ => &self.id,
        }
    }

    /// Whether the ACL scheme `auth` stands for it: an address proves nobody, and `super` is in no ACL.
    pub fn is_authenticated(&self) -> bool {
        self.scheme == DIGEST
    }
}

/// Which providers there are and whom they trust.
#[derive(Debug, Clone)]
pub struct AuthOptions {
    /// Whether the digest scheme exists.
    pub digest: bool,
    /// The digest id whose owner is the super user, as `user:base64`.
    pub super_digest: Option<String>,
    /// Whether permissions are not looked at; malformed ACLs are refused all the same.
    pub skip_acl: bool,
}

impl Default for AuthOptions {
    fn default() -> AuthOptions {
        AuthOptions { digest: true, super_digest: None, skip_acl: false }
    }
}

/// How many identities a connection may have: each is looked at by every check that is not passed by `world`.
const MAX_IDENTITIES: usize = 256;
/// Bytes of all identities of a connection together.
const MAX_IDENTITIES_BYTES: usize = 64 << 10;
/// Longest user and password together, in bytes: far beyond what anybody types, and short enough for lists of them.
const MAX_IDENTITY_BYTES: usize = 4096;

/// An auth packet was refused: the connection gets AUTHFAILED and is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the auth packet was refused")]
pub struct Refused;

impl AuthOptions {
    /// Adds what an auth packet proves to the connection's identities; one that is there is not added again.
    ///
    /// A wrong password is no refusal: it just proves another identity.
    pub fn authenticate(
        &self,
        scheme: Option<&str>,
        auth: Option<&[u8]>,
        identities: &mut Vec<Identity>,
    ) -> Result<(), Refused> {
        match scheme {
            Some(IP) => Ok(()),
            Some(DIGEST) if self.digest && identities.len() < MAX_IDENTITIES => {
                let auth = auth.filter(|auth| auth.len() <= MAX_IDENTITY_BYTES).ok_or(Refused)?;
                let known: usize = identities.iter().map(|it| it.id.len()).sum();
                if known + auth.len() > MAX_IDENTITIES_BYTES {
                    return Err(Refused);
                }
                let id = digest_id(&String::from_utf8_lossy(auth));
                if self.super_digest.as_deref() == Some(&id) {
                    add(identities, Identity { scheme: SUPER, id: "".into() });
                }
                add(identities, Identity { scheme: DIGEST, id: id.into() });
                Ok(())
            }
            _ => Err(Refused),
        }
    }

    /// Whether an ACL may name `id` in `scheme`.
    pub fn accepts(&self, scheme: &str, id: &str) -> bool {
        match scheme {
            DIGEST => self.digest && id.trim_end_matches(':').split(':').count() == 2,
            IP => Network::parse(id).is_some(),
            _ => false,
        }
    }

    /// Whether a connection's identity is the one that an ACL entry of the same scheme names.
    pub fn matches(&self, identity: &Identity, id: &str) -> bool {
        match identity.scheme {
            DIGEST => self.digest && *identity.id == *id,
            IP => match (Network::parse(id), parse_address(&identity.id)) {
                (Some(network), Some(address)) => network.contains(address),
                _ => false,
            },
            _ => false,
        }
    }
}

fn add(identities: &mut Vec<Identity>, identity: Identity) {
    if !identities.contains(&identity) {
        identities.push(identity);
    }
}

/// `user:base64(SHA1(user:password))`; without a colon everything is the user.
pub fn digest_id(user_and_password: &str) -> String {
    let user = user_and_password.split(':').next().unwrap_or_default();
    format!("{user}:{}", STANDARD.encode(Sha1::digest(user_and_password.as_bytes())))
}

/// The id of an `ip` ACL entry: an address, or an address and the number of leading bits that count.
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(id: &str) -> Option<Network> {
        let (address, bits) = match id.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<i32>().ok()?)),
            None => (id, None),
        };
        let address = parse_address(address)?;
        let full = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(full), |bits| u32::try_from(bits).ok().filter(|&bits| bits <= full))?;
        Some(Network { address, bits })
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// A dotted quad, where the reference takes any decimal from 0 to 255, or IPv6 text without an embedded IPv4.
fn parse_address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return if text.contains('.') { None } else { text.parse::<Ipv6Addr>().ok().map(IpAddr::V6) };
    }
    let mut quad = [0u8; 4];
    let mut parts = text.split('.');
    for byte in &mut quad {
        *byte = u8::try_from(parts.next()?.parse::<i32>().ok()?).ok()?;
    }
    parts.next().is_none().then_some(IpAddr::from(quad))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authenticated(
        options: &AuthOptions,
        scheme: &str,
        auth: Option<&[u8]>,
    ) -> Result<Vec<Identity>, Refused> {
        let mut identities = vec![Identity::of_peer(IpAddr::from([127, 0, 0, 1]))];
        options.authenticate(Some(scheme), auth, &mut identities)?;
        Ok(identities)
    }

    #[test]
    fn a_digest_is_the_users_name_and_the_hash_of_everything() {
        assert_eq!(digest_id("u:p"), "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=");
        assert!(digest_id("just-a-name").starts_with("just-a-name:"));
    }

    #[test]
    fn digest_never_fails_but_without_data_and_other_schemes_do() {
        let options = AuthOptions::default();
        assert_eq!(&*authenticated(&options, "digest", Some(b"u:p")).unwrap()[1].id, digest_id("u:p"));
        assert_eq!(authenticated(&options, "ip", None).unwrap().len(), 1);
        assert_eq!(authenticated(&options, "digest", None), Err(Refused));
        for scheme in ["world", "auth", "super", "sasl", "x509", ""] {
            assert_eq!(authenticated(&options, scheme, Some(b"u:p")), Err(Refused), "{scheme}");
        }
        let without = AuthOptions { digest: false, ..AuthOptions::default() };
        assert_eq!(authenticated(&without, "digest", Some(b"u:p")), Err(Refused));
        assert!(!without.accepts("digest", "u:p"));
    }

    #[test]
    fn the_super_digest_makes_a_super_user_besides() {
        let options = AuthOptions { super_digest: Some(digest_id("super:secret")), ..AuthOptions::default() };
        let schemes = |auth: &[u8]| -> Vec<&str> {
            authenticated(&options, "digest", Some(auth)).unwrap().iter().map(|it| it.scheme).collect()
        };
        assert_eq!(schemes(b"super:secret"), ["ip", "super", "digest"]);
        assert_eq!(schemes(b"super:wrong"), ["ip", "digest"]);
    }

    #[test]
    fn an_identity_is_added_once() {
        let options = AuthOptions::default();
        let mut identities = Vec::new();
        for _ in 0..3 {
            options.authenticate(Some("digest"), Some(b"u:p"), &mut identities).unwrap();
        }
        assert_eq!(identities.len(), 1);
        assert_eq!(identities[0].user(), "u");
    }

    #[test]
    fn identities_are_bounded() {
        let options = AuthOptions::default();
        let mut identities = Vec::new();
        let mut add =
            |n: usize| options.authenticate(Some("digest"), Some(n.to_string().as_bytes()), &mut identities);
        assert_eq!((0..1000).filter(|&n| add(n).is_ok()).count(), MAX_IDENTITIES);
    }

    #[test]
    fn digest_ids_have_two_parts() {
        let options = AuthOptions::default();
        for (id, ok) in [
            ("a:b", true),
            (":b", true),
            ("a:b:", true),
            ("a", false),
            ("a:", false),
            ("a:b:c", false),
            ("", false),
            (":", false),
        ] {
            assert_eq!(options.accepts("digest", id), ok, "{id:?}");
        }
    }

    #[test]
    fn addresses_match_by_their_leading_bits() {
        let options = AuthOptions::default();
        for (id, valid, matching) in [
            ("10.1.2.3", true, true),
            ("10.1.2.4", true, false),
            ("10.0.0.0/8", true, true),
            ("10.1.3.0/23", true, true),
            ("10.1.4.0/23", true, false),
            ("0.0.0.0/0", true, true),
            ("10.1.2.3/33", false, false),
            ("10.1.2.3/-1", false, false),
            ("10.1.2", false, false),
            ("10.1.2.3.4", false, false),
            ("10.1.2.256", false, false),
            ("host", false, false),
            ("::1", true, false),
            ("::/0", true, false),
            ("::ffff:10.1.2.3", false, false),
            ("", false, false),
        ] {
            let peer = Identity::of_peer(IpAddr::from([10, 1, 2, 3]));
            assert_eq!(options.accepts("ip", id), valid, "{id}");
            assert_eq!(options.matches(&peer, id), matching, "{id}");
        }
        let peer = Identity::of_peer("fe80::1:2".parse().unwrap());
        assert_eq!(&*peer.id, "fe80:0:0:0:0:0:1:2");
        assert!(options.matches(&peer, "fe80::/16") && !options.matches(&peer, "fe81::/16"));
    }
}
