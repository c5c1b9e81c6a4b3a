//! The session password: sixteen bytes that follow from the session id.
//!
//! Every member of an ensemble, Apache's included, computes the same bytes from the id alone, so a session can
//! be resumed on any of them without shared state. It guards against mistakes, not against attackers
//! (client-protocol reference 2.7).

use ringkeeper_engine::id::SessionId;

/// Length of a password on the wire, in bytes.
pub const LEN: usize = 16;

const SECRET: u64 = 0xB341_5C00;
const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;

/// The password of a session: the first bytes of `java.util.Random` seeded with the id and a fixed secret.
pub fn of(id: SessionId) -> [u8; LEN] {
    let mut state = (id.0 as u64 ^ SECRET ^ MULTIPLIER) & MASK;
    let mut password = [0; LEN];
    for word in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        word.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    password
}

/// Whether `given` is the password of the session. Session 0 has none.
pub fn matches(id: SessionId, given: Option<&[u8]>) -> bool {
    id != SessionId::NONE && given == Some(&of(id)[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_captured_passwords() {
        for (id, hex) in [
            (0x0100_000e_4e7a_0000, 0xd476_9dc9_d141_d380_d297_c139_0299_0e2d),
            (0x0100_000f_eefa_000d, 0x4cce_d942_7144_a3c9_c683_ac2d_4163_7f45),
        ] {
            assert_eq!(u128::from_be_bytes(of(SessionId(id))), hex);
        }
    }

    #[test]
    fn only_the_exact_bytes_match() {
        let id = SessionId(0x0100_000e_4e7a_0000);
        let password = of(id);
        assert!(matches(id, Some(&password)));
        assert!(!matches(id, Some(&password[..15])));
        assert!(!matches(id, None));
        assert!(!matches(SessionId(7), Some(&password)));
        assert!(!matches(SessionId::NONE, Some(&of(SessionId::NONE))));
    }
}
