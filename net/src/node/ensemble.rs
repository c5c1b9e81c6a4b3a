//! Puts a member of an ensemble together: from configuration and recovered data to the protocol core's first state.
//!
//! Whether an empty member may vote at once is decided here (amnesia: a member that has lost its data must not help to
//! elect a leader without it): if a file `initialize` lies in its directory, or `db.autocreate=true` is written in its
//! configuration. Otherwise it is durably untrusted from its first moment on, until a leader has brought it up or all
//! voters have shown that they are empty too.

use std::path::PathBuf;

use ringkeeper_engine::id::{Epoch, Zxid};
use ringkeeper_engine::io::Waker;
use ringkeeper_engine::log::{Durable, Epochs};
use ringkeeper_engine::store::Store;

use super::serve::ServeError;
use crate::config::{Config, Ensemble};
use crate::member::Fatal;
use crate::peer::{PeerAddress, PeerOptions, Peers};
use crate::zab;
use crate::zab::event::Birth;
use crate::zab::history::History;

/// Why an empty member is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It is not.
    No,
    /// Files that the operator has put there. They are consumed.
    Marker(Vec<PathBuf>),
    /// `db.autocreate=true`.
    AutoCreate,
}

/// Whether an empty directory may vote at once.
pub fn trust(config: &Config, ensemble: &Ensemble) -> Trust {
    let markers: Vec<_> = config.initialize_markers().into_iter().filter(|path| path.exists()).collect();
    match () {
        () if !markers.is_empty() => Trust::Marker(markers),
        () if ensemble.autocreate == Some(true) => Trust::AutoCreate,
        () => Trust::No,
    }
}

/// Makes an empty, untrusted member trusted, if it may be. The marker is consumed after that is durable.
pub fn settle_trust(
    store: &mut Store,
    volume: &dyn ringkeeper_engine::io::Volume,
    trust: &Trust,
) -> Result<(), ServeError> {
    let epochs = store.log.epochs().get();
    if *trust != Trust::No && epochs.nonvoting && is_empty(store, epochs) {
        let trusted = Epochs { nonvoting: false, ..epochs };
        store.log.set_epochs(volume, trusted).map_err(ServeError::log("trusting an empty directory"))?;
        match trust {
            Trust::AutoCreate => tracing::warn!(
                "db.autocreate=true: this empty member votes at once; had it lost its data, an acknowledged write could be lost with it"
            ),
            _ => tracing::info!("the file `initialize` says that this member is new: it may vote"),
        }
    }
    if let Trust::Marker(markers) = trust {
        if !is_empty(store, epochs) {
            tracing::warn!("a file `initialize` is removed without effect: this member is not empty");
        }
        for marker in markers {
            std::fs::remove_file(marker)
                .map_err(ServeError::system(format!("removing {}", marker.display())))?;
        }
    }
    Ok(())
}

fn is_empty(store: &Store, epochs: Epochs) -> bool {
    epochs.accepted == Epoch(0) && store.last_zxid == Zxid::ZERO && store.snapshot == Zxid::ZERO
}

/// The protocol core's settings.
pub fn zab_config(ensemble: &Ensemble, tick_ms: u32) -> zab::Config {
    zab::Config {
        me: ensemble.me,
        members: ensemble.quorum.clone(),
        config_version: ensemble.version,
        tick_ms: tick_ms.into(),
        init_limit: ensemble.init_limit.into(),
        connect_limit: ensemble.connect_to_learner_limit.into(),
        sync_limit: ensemble.sync_limit.into(),
        announce_ms: ensemble.min_notification_ms.into(),
        announce_max_ms: ensemble.max_notification_ms.into(),
        finalize_ms: ensemble.finalize_ms.into(),
        force_snapshot: ensemble.force_snapshot,
    }
}

/// What the protocol core begins with.
pub fn birth(store: &Store, seed: u64) -> Birth {
    let epochs: Durable<Epochs> = store.log.epochs();
    let mut history = History::new(store.base);
    for &(first, last) in &store.runs {
        history.extend(first, last);
    }
    Birth {
        epochs,
        durable: store.log.durable(),
        history,
        snapshot: store.snapshot,
        applied: store.snapshot,
        fresh: epochs.get().nonvoting && is_empty(store, epochs.get()),
        seed,
    }
}

/// The connections to the other members.
pub fn peers(ensemble: &Ensemble, waker: Waker) -> Result<Peers, ServeError> {
    let options = PeerOptions {
        me: ensemble.me,
        members: ensemble
            .members
            .iter()
            .map(|member| PeerAddress {
                sid: member.id,
                host: member.host.clone(),
                quorum_port: member.quorum_port,
                election_port: member.election_port,
            })
            .collect(),
        config: ensemble.config_text.clone().into_bytes(),
        listen_on_all: ensemble.listen_on_all,
        connect_timeout_ms: ensemble.connect_timeout_ms.into(),
        hello_timeout_ms: ensemble.hello_timeout_ms.into(),
        election_bind_tries: ensemble.election_bind_retries.map_or(0, |retries| retries.saturating_add(1)),
    };
    Ok(Peers::new(&options, waker).map_err(Fatal::Peers)?)
}
