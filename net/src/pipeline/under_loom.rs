//! The doorbell compiled a second time, against loom's atomics, and walked through every interleaving.

mod atomics {
    pub use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

#[path = "doorbell.rs"]
mod doorbell;

use atomics::Ordering;
use doorbell::Doorbell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicUsize;

#[test]
fn a_message_is_never_slept_through() {
    loom::model(|| {
        let inbox = Arc::new(AtomicUsize::new(0));
        let wakes = Arc::new(AtomicUsize::new(0));
        let wake = {
            let wakes = wakes.clone();
            move || {
                wakes.fetch_add(1, Ordering::AcqRel);
            }
        };
        let bell = Arc::new(Doorbell::new(wake));
        let producer = {
            let (inbox, bell) = (inbox.clone(), bell.clone());
            loom::thread::spawn(move || {
                inbox.store(1, Ordering::Release);
                bell.ring();
            })
        };
        let slept = bell.may_sleep(|| inbox.load(Ordering::Acquire) == 0);
        producer.join().expect("the producer does not panic");
        if slept {
            assert_eq!(wakes.load(Ordering::Acquire), 1, "slept and was not woken");
        } else {
            bell.awake();
            assert_eq!(inbox.load(Ordering::Acquire), 1);
        }
    });
}
