//! The doorbell on one thread; every interleaving of two is in `under_loom`.

use super::Doorbell;
use std::cell::Cell;

#[test]
fn only_a_sleeper_is_woken_and_only_once() {
    let woken = Cell::new(0);
    let bell = Doorbell::new(|| woken.set(woken.get() + 1));
    bell.ring();
    assert_eq!(woken.get(), 0);
    assert!(bell.may_sleep(|| true));
    bell.ring();
    bell.ring();
    assert_eq!(woken.get(), 1);
    assert!(!bell.may_sleep(|| false));
    bell.ring();
    assert_eq!(woken.get(), 1);
}
