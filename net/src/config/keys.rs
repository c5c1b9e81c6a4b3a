//! Every key that a zoo.cfg may hold, and what becomes of it here.
//!
//! The table answers one question: may a key that we do not follow be passed over? Silently, if nobody can tell
//! the difference; with a warning, if something will not happen; not at all, if data, security or quorum rules
//! hang on it. What the followed keys mean is in `apply`.

use std::iter;

/// Who reads the key in the reference server, which decides how strict it is and where else it may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The configuration parser: strict, and only in the file.
    Parser,
    /// A system property `zookeeper.<key>`: lenient, in the file or as `-Dzookeeper.<key>`.
    Property,
    /// A system property without the prefix: the reference reads it as `-D<key>` and never from the file.
    Bare,
    /// Ours: strict, only in the file.
    Own,
}

/// What the reference's parser insists on, also for keys that have no effect here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Any,
    /// A 32-bit number.
    Number,
    /// `true` or `false` in any case.
    Flag,
}

/// Which values of a key are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// Only `true`, in any case; everything else means false, as in the reference.
    True,
    /// Everything but these, in any case.
    Unless(&'static [&'static str]),
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handling {
    /// Followed: `apply` takes it from here.
    Used,
    /// No effect, and nobody can tell: JVM tuning, or ensemble settings on a standalone node.
    Silent(Check),
    /// No effect, and that is said, unless the value is one of those that ask for nothing.
    Warn { quiet: &'static [&'static str], why: &'static str, check: Check },
    /// Not followed, and not to be ignored.
    Refuse { when: When, why: &'static str, check: Check },
}

/// One row. A name that ends in `.*` stands for every key with that beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub name: &'static str,
    pub scope: Scope,
    pub handling: Handling,
}

use Check::{Any, Flag, Number};
use Scope::{Bare, Own, Parser, Property};
use When::{Always, True, Unless};

const fn used(scope: Scope, name: &'static str) -> Key {
    Key { name, scope, handling: Handling::Used }
}

const fn silent(scope: Scope, name: &'static str) -> Key {
    Key { name, scope, handling: Handling::Silent(Any) }
}

const fn silent_number(name: &'static str) -> Key {
    Key { name, scope: Parser, handling: Handling::Silent(Number) }
}

const fn silent_flag(name: &'static str) -> Key {
    Key { name, scope: Parser, handling: Handling::Silent(Flag) }
}

const fn warn(scope: Scope, name: &'static str, quiet: &'static [&'static str], why: &'static str) -> Key {
    Key { name, scope, handling: Handling::Warn { quiet, why, check: Any } }
}

const fn warn_checked(
    name: &'static str,
    check: Check,
    quiet: &'static [&'static str],
    why: &'static str,
) -> Key {
    Key { name, scope: Parser, handling: Handling::Warn { quiet, why, check } }
}

const fn refuse(scope: Scope, name: &'static str, when: When, why: &'static str) -> Key {
    let check = match (scope, when) {
        (Parser, True) => Flag,
        _ => Any,
    };
    Key { name, scope, handling: Handling::Refuse { when, why, check } }
}

const PEER_TLS: &str = "TLS between servers is not there yet, and they must not talk in the clear instead";
const PEER_SASL: &str =
    "SASL between servers is not there yet, and they must not trust each other without it";
const OBSERVERS_LOG: &str = "no effect: an observer keeps its own log of what it applies";
const RETRIES: &str = "no effect: the pauses between attempts are chosen by themselves";
const TRANSFERS: &str =
    "no effect: two snapshots are sent at a time, and there is no limit to other synchronisations";
const NO_TLS: &str = "TLS is not there yet, and clients must not be served in the clear instead";
const TLS_KEY: &str = "no effect: this version has no TLS, and refuses the keys that switch it on";
const NO_SASL: &str = "SASL is not there yet, and the check must not be left out";
const SASL_KEY: &str = "no effect: this version has no SASL, a client that asks for it is not authenticated";
const TUNING: &str = "no effect: requests take another way here";
const THROTTLE: &str = "no effect: this version does not throttle requests or connections in this way";
const NO_SWEEPER: &str =
    "no effect yet: containers and nodes whose time is over are not removed in this version";
const IN_BYTES: &str = "no effect: what one connection may have waiting is bounded in bytes";
const NO_QUOTAS: &str = "no effect yet: quotas are not enforced in this version";
const NO_PATH_STATS: &str = "no effect: there are no statistics by path";

/// The keys, grouped as in docs/operations.md.
pub(super) static KEYS: &[Key] = &[
    // Files and log.
    used(Parser, "dataDir"),
    used(Parser, "dataLogDir"),
    used(Property, "datadir.autocreate"),
    used(Property, "preAllocSize"),
    used(Property, "forceSync"),
    used(Property, "fsync.warningthresholdms"),
    used(Property, "digest.enabled"),
    used(Parser, "autopurge.snapRetainCount"),
    used(Parser, "autopurge.purgeInterval"),
    used(Property, "snapCount"),
    used(Property, "snapSizeLimitInKb"),
    warn(
        Property,
        "snapshot.compression.method",
        &[""],
        "no effect: snapshots are kept as they are sent to other members, uncompressed",
    ),
    warn(
        Property,
        "snapshot.trust.empty",
        &["false"],
        "no effect: a log is only opened if it reaches back to a snapshot or to its beginning",
    ),
    warn(
        Property,
        "serializeLastProcessedZxid.enabled",
        &["true"],
        "no effect: a snapshot always says which transaction is the last in it",
    ),
    warn(
        Property,
        "txnLogSizeLimitInKb",
        &["-1"],
        "no effect: the log is kept in segments of one size, see ringkeeper.logSegmentBytes",
    ),
    warn(Property, "flushDelay", &["0"], TUNING),
    warn(Property, "maxWriteQueuePollTime", &["0"], TUNING),
    warn(Property, "maxBatchSize", &["1000"], TUNING),
    warn(
        Property,
        "closeSessionTxn.enabled",
        &["true"],
        "no effect: closing a session always logs the list of its ephemeral nodes",
    ),
    used(Property, "extendedTypesEnabled"),
    refuse(
        Property,
        "emulate353TTLNodes",
        True,
        "TTL nodes in the form of version 3.5.3 would be taken for ephemeral nodes",
    ),
    // Client port.
    used(Parser, "clientPort"),
    used(Parser, "clientPortAddress"),
    used(Parser, "clientPortListenBacklog"),
    used(Property, "clientTcpKeepAlive"),
    refuse(Parser, "secureClientPort", Always, NO_TLS),
    refuse(Parser, "secureClientPortAddress", Always, NO_TLS),
    refuse(Property, "client.portUnification", True, NO_TLS),
    silent(Property, "client.secure"),
    silent(Property, "clientCnxnSocket"),
    silent(Property, "serverCnxnSocket"),
    silent(Property, "traceFile"),
    warn(
        Property,
        "serverCnxnFactory",
        &[
            "org.apache.zookeeper.server.NIOServerCnxnFactory",
            "org.apache.zookeeper.server.NettyServerCnxnFactory",
        ],
        "no effect: there are no Java classes to choose from",
    ),
    warn(Property, "netty.*", &[], TUNING),
    // Sessions, limits, requests.
    used(Parser, "tickTime"),
    used(Parser, "minSessionTimeout"),
    used(Parser, "maxSessionTimeout"),
    used(Parser, "maxClientCnxns"),
    used(Property, "maxCnxns"),
    warn(Property, "globalOutstandingLimit", &["1000"], IN_BYTES),
    used(Property, "nio.sessionlessCnxnTimeout"),
    used(Bare, "jute.maxbuffer"),
    used(Property, "jute.maxbuffer.extrasize"),
    warn(Property, "enforceQuota", &["false"], NO_QUOTAS),
    warn(
        Property,
        "enableEagerACLCheck",
        &["false"],
        "no effect: ACLs are checked where writes are ordered, at the leader",
    ),
    warn(Property, "largeRequestMaxBytes", &["104857600"], THROTTLE),
    warn(Property, "largeRequestThreshold", &["-1"], THROTTLE),
    warn(Property, "request_throttle_max_requests", &["0"], THROTTLE),
    warn(Property, "request_throttle_stall_time", &["100"], THROTTLE),
    warn(Property, "request_throttle_drop_stale", &["true"], THROTTLE),
    warn(Property, "request_stale_connection_check", &["true"], THROTTLE),
    warn(Property, "request_stale_latency_check", &["false"], THROTTLE),
    warn(Property, "requestThrottleLimit", &["0"], THROTTLE),
    warn(Property, "requestThrottleStallTime", &["100"], THROTTLE),
    warn(Property, "requestThrottleDropStale", &["true"], THROTTLE),
    warn(Property, "requestStaleConnectionCheck", &["true"], THROTTLE),
    warn(Property, "requestStaleLatencyCheck", &["false"], THROTTLE),
    warn(Property, "throttled_op_wait_time", &["0"], THROTTLE),
    silent(Property, "request_throttler.shutdownTimeout"),
    warn(Property, "connection_throttle_tokens", &["0"], THROTTLE),
    warn(Property, "connection_throttle_fill_time", &["1"], THROTTLE),
    warn(Property, "connection_throttle_fill_count", &["1"], THROTTLE),
    warn(Property, "connection_throttle_freeze_time", &["-1"], THROTTLE),
    warn(Property, "connection_throttle_drop_increase", &["0.02"], THROTTLE),
    warn(Property, "connection_throttle_drop_decrease", &["0.002"], THROTTLE),
    warn(Property, "connection_throttle_decrease_ratio", &["0"], THROTTLE),
    warn(Property, "connection_throttle_weight_enabled", &["false"], THROTTLE),
    warn(Property, "connection_throttle_global_session_weight", &["3"], THROTTLE),
    warn(Property, "connection_throttle_local_session_weight", &["1"], THROTTLE),
    warn(Property, "connection_throttle_renew_session_weight", &["2"], THROTTLE),
    warn(Property, "connectionMaxTokens", &["0"], THROTTLE),
    warn(Property, "connectionTokenFillTime", &["1"], THROTTLE),
    warn(Property, "connectionTokenFillCount", &["1"], THROTTLE),
    warn(Property, "connectionFreezeTime", &["-1"], THROTTLE),
    warn(Property, "connectionDropIncrease", &["0.02"], THROTTLE),
    warn(Property, "connectionDropDecrease", &["0.002"], THROTTLE),
    warn(Property, "connectionDecreaseRatio", &["0"], THROTTLE),
    warn(Property, "pathStats.*", &["false"], NO_PATH_STATS),
    warn(
        Property,
        "messageTracker.*",
        &["false", "10"],
        "no effect: the last messages of a connection are not kept",
    ),
    silent(Property, "maxResponseCacheSize"),
    silent(Property, "maxGetChildrenResponseCacheSize"),
    silent(Property, "commitProcessor.numWorkerThreads"),
    silent(Property, "commitProcessor.maxReadBatchSize"),
    silent(Property, "commitProcessor.maxCommitBatchSize"),
    silent(Property, "commitProcessor.shutdownTimeout"),
    silent(Property, "nio.numSelectorThreads"),
    silent(Property, "nio.numWorkerThreads"),
    silent(Property, "nio.directBufferBytes"),
    silent(Property, "nio.shutdownTimeout"),
    silent(Property, "intBufferStartingSizeBytes"),
    silent(Property, "watchManagerName"),
    silent(Property, "watcherCleanThreadsNum"),
    silent(Property, "watcherCleanThreshold"),
    silent(Property, "watcherCleanIntervalInSeconds"),
    silent(Property, "maxInProcessingDeadWatchers"),
    silent(Property, "bitHashCacheSize"),
    warn(Bare, "znode.container.checkIntervalMs", &["60000"], NO_SWEEPER),
    warn(Bare, "znode.container.maxPerMinute", &["10000"], NO_SWEEPER),
    warn(Bare, "znode.container.maxNeverUsedIntervalMs", &["0"], NO_SWEEPER),
    used(Bare, "readonlymode.enabled"),
    // Words, admin server, metrics, audit.
    used(Property, "4lw.commands.whitelist"),
    used(Property, "admin.*"),
    warn(Property, "controllerPort", &[], "no effect: there is no development controller"),
    used(Parser, "metricsProvider.className"),
    silent(Parser, "metricsProvider.*"),
    refuse(
        Property,
        "audit.enable",
        True,
        "the audit log is not there yet, and whoever asks for it must not do without it unknowingly",
    ),
    silent(Property, "audit.impl.class"),
    silent_flag("jvm.pause.monitor"),
    silent_number("jvm.pause.sleep.time.ms"),
    silent_number("jvm.pause.warn-threshold.ms"),
    silent_number("jvm.pause.info-threshold.ms"),
    silent(Property, "jmx.log4j.disable"),
    // Access.
    used(Property, "skipACL"),
    used(Property, "DigestAuthenticationProvider.superDigest"),
    refuse(
        Property,
        "DigestAuthenticationProvider.enabled",
        Unless(&["true"]),
        "the scheme digest cannot be switched off yet",
    ),
    refuse(
        Property,
        "DigestAuthenticationProvider.digestAlg",
        Unless(&["SHA1", "SHA-1"]),
        "digests are made with SHA1 only; with another algorithm no digest ACL would match any more",
    ),
    used(Property, "authProvider.*"),
    refuse(Property, "ssl.authProvider", Unless(&["x509"]), NO_TLS),
    warn(Property, "X509AuthenticationProvider.superUser", &[], TLS_KEY),
    warn(Property, "superUser", &[], SASL_KEY),
    warn(Property, "superUser.*", &[], SASL_KEY),
    refuse(Property, "sessionRequireClientSASLAuth", True, NO_SASL),
    refuse(
        Property,
        "enforce.auth.enabled",
        True,
        "refusing clients that have not authenticated is not there yet, and the check must not be left out",
    ),
    silent(Property, "enforce.auth.schemes"),
    warn(Property, "allowSaslFailedClients", &[], SASL_KEY),
    warn(Property, "letAnySaslUserDoX", &[], SASL_KEY),
    warn(Property, "SASLAuthenticationProvider.superPassword", &[], SASL_KEY),
    warn(Property, "sasl.serverconfig", &[], SASL_KEY),
    warn(Property, "kerberos.*", &[], SASL_KEY),
    warn(Property, "security.auth_to_local", &[], SASL_KEY),
    refuse(
        Property,
        "ensembleAuthName",
        Always,
        "the scheme ensemble is not there yet: clients of another ensemble would not be turned away",
    ),
    warn(
        Property,
        "IPAuthenticationProvider.usexforwardedfor",
        &["false"],
        "no effect: there is no admin server yet",
    ),
    warn(Property, "ssl.*", &[], TLS_KEY),
    refuse(Property, "ssl.context.supplier.class", Always, "there are no Java classes to load"),
    silent(Property, "ssl.sslProvider"),
    warn(Property, "client.certReload", &["false"], TLS_KEY),
    silent(Property, "fips-mode"),
    // Ensembles: checked, and without effect on a standalone node, as in the reference.
    used(Parser, "server.*"),
    used(Parser, "group.*"),
    used(Parser, "weight.*"),
    used(Parser, "dynamicConfigFile"),
    used(Parser, "standaloneEnabled"),
    used(Parser, "reconfigEnabled"),
    used(Parser, "initLimit"),
    used(Parser, "syncLimit"),
    used(Parser, "connectToLearnerMasterLimit"),
    refuse(
        Parser,
        "electionAlg",
        Unless(&["3"]),
        "3 is the only election algorithm there is (fast leader election over TCP)",
    ),
    used(Parser, "peerType"),
    refuse(
        Parser,
        "oraclePath",
        Always,
        "an oracle lets one of two servers go on alone, and there is none here: without it the other rules of a quorum \
         would hold",
    ),
    used(Parser, "quorumListenOnAllIPs"),
    warn_checked(
        "observerMasterPort",
        Number,
        &["0"],
        "no effect: observers connect to the leader, this node does not serve them as a follower",
    ),
    used(Parser, "localSessionsEnabled"),
    warn_checked(
        "localSessionsUpgradingEnabled",
        Flag,
        &["false"],
        "no effect: every session is a global one",
    ),
    warn_checked("syncEnabled", Flag, &["true"], OBSERVERS_LOG),
    warn(Property, "observer.syncEnabled", &["true"], OBSERVERS_LOG),
    refuse(Parser, "sslQuorum", True, PEER_TLS),
    refuse(Parser, "portUnification", True, PEER_TLS),
    refuse(Parser, "sslQuorumReloadCertFiles", True, PEER_TLS),
    refuse(Parser, "multiAddress.enabled", True, "several addresses for one server are not there yet"),
    silent_flag("multiAddress.reachabilityCheckEnabled"),
    silent_number("multiAddress.reachabilityCheckTimeoutMs"),
    refuse(Parser, "quorum.auth.enableSasl", True, PEER_SASL),
    refuse(Parser, "quorum.auth.learnerRequireSasl", True, PEER_SASL),
    refuse(Parser, "quorum.auth.serverRequireSasl", True, PEER_SASL),
    silent(Parser, "quorum.auth.learner.saslLoginContext"),
    silent(Parser, "quorum.auth.server.saslLoginContext"),
    silent(Parser, "quorum.auth.kerberos.servicePrincipal"),
    silent_number("quorum.cnxn.threads.size"),
    used(Property, "leaderServes"),
    used(Property, "cnxTimeout"),
    used(Property, "quorumCnxnTimeoutMs"),
    used(Property, "electionPortBindRetry"),
    used(Property, "fastleader.minNotificationInterval"),
    used(Property, "fastleader.maxNotificationInterval"),
    used(Property, "commitLogCount"),
    used(Property, "snapshotSizeFactor"),
    used(Property, "forceSnapshotSync"),
    used(Property, "db.autocreate"),
    used(Property, "tcpKeepAlive"),
    warn(Property, "leader.maxTimeToWaitForEpoch", &["-1"], "no effect: discovery ends with initLimit"),
    warn(Property, "leader.maxConcurrentSnapSyncs", &["10"], TRANSFERS),
    warn(Property, "leader.maxConcurrentDiffSyncs", &["100"], TRANSFERS),
    warn(Property, "maxConcurrentSnapSyncs", &["10"], TRANSFERS),
    warn(Property, "maxConcurrentDiffSyncs", &["100"], TRANSFERS),
    warn(Property, "leaderConnectDelayDuringRetryMs", &["100"], RETRIES),
    warn(Property, "observer.reconnectDelayMs", &["0"], RETRIES),
    warn(Property, "observer.election.DelayMs", &["200"], RETRIES),
    silent(Property, "leader.closeSocketAsync"),
    silent(Property, "learner.closeSocketAsync"),
    silent(Property, "learner.asyncSending"),
    silent(Property, "leader.ackLoggingFrequency"),
    silent(Property, "observerMaster.sizeLimit"),
    silent(Property, "follower.skipLearnerRequestToNextProcessor"),
    silent(Property, "forward_learner_requests_to_commit_processor_disabled"),
    silent(Bare, "leader.nodelay"),
    silent(Bare, "follower.nodelay"),
    // Ours.
    used(Own, "ringkeeper.cores"),
    used(Own, "ringkeeper.fronts"),
    used(Own, "ringkeeper.commitsInFlight"),
    used(Own, "ringkeeper.maxReplyBytes"),
    used(Own, "ringkeeper.maxUnsentBytes"),
    used(Own, "ringkeeper.logSegmentBytes"),
    used(Own, "ringkeeper.electionFinalizeMs"),
];

/// The row of a key: its own, or else the longest `.*` row that fits.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    let prefix_length = |key: &&Key| {
        key.name.strip_suffix('*').filter(|p| name.starts_with(p) && name.len() > p.len()).map(str::len)
    };
    KEYS.iter().find(|key| key.name == name && !name.ends_with(".*")).or_else(|| {
        KEYS.iter().filter(|key| prefix_length(key).is_some()).max_by_key(|key| prefix_length(key))
    })
}

/// The key that was probably meant, if one is close enough to be worth naming.
pub(super) fn did_you_mean(name: &str) -> Option<&'static str> {
    let lower = name.to_lowercase();
    // A file may not be as long as an attack: long names are no typos, and the distance is quadratic.
    if lower.len() > 60 {
        return None;
    }
    KEYS.iter()
        .filter(|key| !key.name.ends_with(".*"))
        .map(|key| (distance(&lower, &key.name.to_lowercase()), key.name))
        .min_by_key(|&(distance, _)| distance)
        .filter(|&(distance, best)| distance <= best.len() / 4 && distance <= 3)
        .map(|(_, best)| best)
}

/// Edit distance of two strings in bytes: insertions, deletions and replacements.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut west = i + 1;
        let next = iter::once(west)
            .chain(iter::zip(row.windows(2), b.bytes()).map(|(above, right)| {
                let replaced = diagonal + usize::from(left != right);
                diagonal = above.get(1).copied().unwrap_or(usize::MAX);
                west = replaced.min(diagonal + 1).min(west + 1);
                west
            }))
            .collect();
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// The names of all keys of one scope, for messages that list them.
pub(super) fn names(scope: Scope) -> String {
    let names: Vec<&str> = KEYS.iter().filter(|key| key.scope == scope).map(|key| key.name).collect();
    names.join(", ")
}
