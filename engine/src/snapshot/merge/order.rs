//! The order of nodes in a canonical stream, for two paths of which no tree is at hand.

use std::cmp::Ordering;

/// How many bytes two paths have in common at their beginnings.
#[inline]
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let (a_words, _) = a.as_chunks::<8>();
    let (b_words, _) = b.as_chunks::<8>();
    let mut same = 0;
    for (x, y) in a_words.iter().zip(b_words) {
        let difference = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if difference != 0 {
            return same + difference.trailing_zeros() as usize / 8;
        }
        same += 8;
    }
    same + a[same..].iter().zip(&b[same..]).take_while(|(x, y)| x == y).count()
}

/// Which of two paths a walk meets first that takes children in the order of their names' bytes: compared component by
/// component, so that `/a/b` comes before `/a-b`.
#[inline]
pub(super) fn walk_order(a: &[u8], b: &[u8]) -> Ordering {
    behind_prefix(a, b, common_prefix(a, b))
}

/// The same where it is known how much they have in common.
#[inline]
pub(super) fn behind_prefix(a: &[u8], b: &[u8], common: usize) -> Ordering {
    // The end of a path comes before everything, the end of a component before all other bytes.
    let key = |path: &[u8]| match path.get(common) {
        None => 0,
        Some(b'/') => 1,
        Some(&byte) => 2 + u16::from(byte),
    };
    key(a).cmp(&key(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_ordered_like_a_walk_meets_them() {
        let walk = [
            "",
            "/",
            "/!",
            "/a",
            "/a/b",
            "/a/b/c",
            "/a/b!",
            "/a/bc",
            "/a/c",
            "/a!",
            "/a!/x",
            "/a-b",
            "/a-b/c",
            "/a.b",
            "/a0",
            "/a00000001/b",
            "/a00000001/b/c",
            "/a00000001-b",
            "/ab",
            "/b",
            "/é",
            "/ü",
        ];
        for (i, a) in walk.iter().enumerate() {
            for (k, b) in walk.iter().enumerate() {
                assert_eq!(walk_order(a.as_bytes(), b.as_bytes()), i.cmp(&k), "{a:?} and {b:?}");
                let common = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
                assert_eq!(common_prefix(a.as_bytes(), b.as_bytes()), common, "{a:?} and {b:?}");
            }
        }
    }
}
