//! What is refused, what is warned about, and in which words.

use super::*;

#[test]
fn bad_values_are_refused_with_line_key_value_and_what_is_allowed() {
    const I32: &str = "to 2147483647";
    for (line, expected) in [
        ("tickTime=abc", format!("a whole number of milliseconds from 1 {I32}")),
        ("tickTime=0", format!("a whole number of milliseconds from 1 {I32}")),
        ("tickTime=2147483648", format!("a whole number of milliseconds from 1 {I32}")),
        (
            "tickTime=99999999999999999999999999999999999999999999",
            format!("a whole number of milliseconds from 1 {I32}"),
        ),
        ("tickTime=", format!("a whole number of milliseconds from 1 {I32}")),
        ("tickTime=2 000", format!("a whole number of milliseconds from 1 {I32}")),
        ("tickTime=0x10", format!("a whole number of milliseconds from 1 {I32}")),
        ("clientPort=65536", "a port, 0 for any free one, from 0 to 65535".into()),
        ("clientPort=-1", "a port, 0 for any free one, from 0 to 65535".into()),
        (
            "clientPortAddress=no.such.host",
            "an address of this machine, or a host name that can be looked up".into(),
        ),
        ("clientPortListenBacklog=-2", format!("a whole number, -1 for the system's default, from -1 {I32}")),
        ("minSessionTimeout=1s", format!("a whole number of milliseconds, -1 for 2 ticks, from -1 {I32}")),
        ("maxSessionTimeout=-2", format!("a whole number of milliseconds, -1 for 20 ticks, from -1 {I32}")),
        ("minSessionTimeout=60001", "at most the maxSessionTimeout of 20 ticks, 60000 ms".into()),
        ("maxSessionTimeout=5999", "at least the minSessionTimeout of 2 ticks, 6000 ms".into()),
        ("maxClientCnxns=many", format!("a whole number, 0 for no limit, from 0 {I32}")),
        ("initLimit=x", format!("a whole number of ticks from 0 {I32}")),
        ("syncLimit=5;", format!("a whole number of ticks from 0 {I32}")),
        ("peerType=leader", "participant or observer".into()),
        ("standaloneEnabled=yes", "true or false".into()),
        ("syncEnabled=1", "true or false".into()),
        ("quorumListenOnAllIPs=no", "true or false".into()),
        ("sslQuorum=0", "true or false".into()),
        ("quorum.cnxn.threads.size=q", "a whole number from -2147483648 to 2147483647".into()),
        ("observerMasterPort=", "a whole number from -2147483648 to 2147483647".into()),
        ("dataLogDir=", "the path of a directory".into()),
        ("autopurge.snapRetainCount=some", format!("a whole number of snapshots from 0 {I32}")),
        (
            "autopurge.purgeInterval=5w",
            "a whole number of hours, or a number with one of the units ms, s, m, h, d".into(),
        ),
        (
            "ringkeeper.cores=0,0",
            "core numbers from 0 to 1023, separated by commas, each one once, such as 0,1".into(),
        ),
        (
            "ringkeeper.cores=",
            "core numbers from 0 to 1023, separated by commas, each one once, such as 0,1".into(),
        ),
        (
            "ringkeeper.cores=1-3",
            "core numbers from 0 to 1023, separated by commas, each one once, such as 0,1".into(),
        ),
        ("ringkeeper.fronts=65", "a whole number of front loops from 0 to 64".into()),
        ("ringkeeper.commitsInFlight=0", "a whole number from 1 to 16".into()),
        ("ringkeeper.commitsInFlight=17", "a whole number from 1 to 16".into()),
        ("ringkeeper.maxReplyBytes=1000", format!("a whole number of bytes from 1049599 {I32}")),
        (
            "ringkeeper.maxUnsentBytes=33554431",
            "a whole number of bytes from 33554432 to 1099511627776".into(),
        ),
        ("ringkeeper.logSegmentBytes=1", "a whole number of bytes from 2113536 to 1073741824".into()),
        ("ringkeeper.logSegmentBytes=16777217", "a multiple of 4096 bytes from 2113536 to 1073741824".into()),
        (
            "server.1=localhost",
            "host:quorumPort:electionPort[:participant|observer][;[clientAddress:]clientPort] with \
                                two different ports from 1 to 65535"
                .into(),
        ),
        ("server.x=localhost:1:2", "a server number after `server.`: a whole number from 0".into()),
        ("connectToLearnerMasterLimit=soon", format!("a whole number of ticks from 0 {I32}")),
        ("ringkeeper.electionFinalizeMs=0", "a whole number of milliseconds from 1 to 60000".into()),
        ("reconfigEnabled=maybe", "true or false".into()),
        (
            "server.1=h:1:2;2182",
            "the same client address as in clientPort and clientPortAddress, which is *:2181".into(),
        ),
    ] {
        let message = error_of(line);
        assert_eq!(message, format!("zoo.cfg:3: {line}: expected {expected}"));
    }
}

#[test]
fn two_settings_that_contradict_each_other_name_both_places() {
    assert_eq!(
        error_of("minSessionTimeout=9000\nmaxSessionTimeout=8000"),
        "zoo.cfg:3: minSessionTimeout=9000: expected at most the maxSessionTimeout of zoo.cfg:4, 8000 ms"
    );
    assert_eq!(
        error_of("ringkeeper.cores=0,1,2\nringkeeper.fronts=1"),
        "zoo.cfg:4: ringkeeper.fronts=1: expected 2, because ringkeeper.cores lists 3 cores, one for the replica \
         loop and one per front loop"
    );
}

#[test]
fn what_must_not_be_ignored_is_refused_with_the_reason() {
    for (line, why) in [
        ("secureClientPort=2281", "TLS is not there yet"),
        ("client.portUnification=true", "TLS is not there yet"),
        ("sslQuorum=true", "TLS between servers is not there yet"),
        ("portUnification=true", "TLS between servers is not there yet"),
        ("oraclePath=/x", "an oracle lets one of two servers go on alone"),
        ("multiAddress.enabled=true", "several addresses"),
        ("quorum.auth.enableSasl=True", "SASL between servers is not there yet"),
        ("electionAlg=0", "only election algorithm"),
        ("enforce.auth.enabled=true", "must not be left out"),
        ("sessionRequireClientSASLAuth=true", "must not be left out"),
        ("DigestAuthenticationProvider.enabled=false", "cannot be switched off"),
        ("DigestAuthenticationProvider.digestAlg=SHA-256", "SHA1 only"),
        ("authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider", "digest and IP"),
        ("authProvider.ip=com.example.IPAuthenticationProvider", "digest and IP"),
        ("ensembleAuthName=prod", "would not be turned away"),
        ("audit.enable=true", "audit log is not there yet"),
        ("emulate353TTLNodes=true", "taken for ephemeral nodes"),
        ("metricsProvider.className=com.example.Metrics", "no Java classes"),
        ("ssl.context.supplier.class=com.example.X", "no Java classes"),
        ("server.1=a:1:2;2181;2281", "TLS is not there yet"),
        ("server.1=a:1:2|b:1:2", "several addresses"),
    ] {
        let message = error_of(line);
        assert!(message.contains(": refused: ") && message.contains(why), "{line}\n{message}");
        assert!(message.starts_with("zoo.cfg:3: ") || message.starts_with("zoo.cfg:4: "), "{message}");
    }
}

#[test]
fn the_harmless_values_of_refusable_keys_are_silent() {
    for line in [
        "client.portUnification=false",
        "sslQuorum=false",
        "electionAlg=3",
        "authProvider.1=org.apache.zookeeper.server.auth.DigestAuthenticationProvider",
        "DigestAuthenticationProvider.digestAlg=SHA1",
        "enforce.auth.enabled=no",
        "audit.enable=false",
        "standaloneEnabled=true",
        "reconfigEnabled=false\nlocalSessionsEnabled=FALSE",
        "commitLogCount=500\nsnapshotSizeFactor=-1\nleaderServes=no",
        "db.autocreate=true\nsyncEnabled=true\nobserverMasterPort=0",
        "metricsProvider.className=org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
        "metricsProvider.httpPort=7000",
        "peerType=participant",
        "admin.enableServer=false\nadmin.serverPort=8080",
        "commitProcessor.numWorkerThreads=8",
        "snapCount=5\nsnapSizeLimitInKb=-1\nautopurge.purgeInterval=24",
        "preAllocSize=65536",
        "fips-mode=true",
        "electionPortBindRetry=0",
    ] {
        silent(&format!("{MINIMAL}{line}\n"));
    }
}

#[test]
fn what_has_no_effect_is_said_once() {
    for (line, text) in [
        ("snapCount=1", "snapCount: at least 2 transactions are between snapshots; 2 is used"),
        (
            "snapCount=many",
            "snapCount: expected a whole number of transactions from -2147483648 to 2147483647, got \"many\"; the \
             default 100000 is used",
        ),
        (
            "snapSizeLimitInKb=4G",
            "snapSizeLimitInKb: expected a whole number of KiB, 0 or less for no limit, from -1099511627776 to \
             1099511627776, got \"4G\"; the default 4194304 is used",
        ),
        (
            "snapshot.compression.method=gz",
            "snapshot.compression.method: no effect: snapshots are kept as they are sent to other members, uncompressed",
        ),
        (
            "snapshot.trust.empty=true",
            "snapshot.trust.empty: no effect: a log is only opened if it reaches back to a snapshot or to its beginning",
        ),
        (
            "request_throttle_max_requests=10",
            "request_throttle_max_requests: no effect: this version does not throttle requests or connections in this way",
        ),
        (
            "connectionMaxTokens=1",
            "connectionMaxTokens: no effect: this version does not throttle requests or connections in this way",
        ),
        ("enforceQuota=true", "enforceQuota: no effect yet: quotas are not enforced in this version"),
        ("localSessionsEnabled=true", "localSessionsEnabled: no effect on a single node"),
        ("reconfigEnabled=true", "reconfigEnabled: no effect on a single node"),
        (
            "observerMasterPort=2890",
            "observerMasterPort: no effect: observers connect to the leader, this node does not serve them as a follower",
        ),
        (
            "observer.syncEnabled=false",
            "observer.syncEnabled: no effect: an observer keeps its own log of what it applies",
        ),
        (
            "snapshotSizeFactor=1.5",
            "snapshotSizeFactor: expected a number up to 1, below 0 for never, got \"1.5\"; the default 0.33 is used",
        ),
        (
            "fastleader.minNotificationInterval=70000\nfastleader.maxNotificationInterval=60000",
            "fastleader.maxNotificationInterval: expected a whole number of milliseconds from 70000 to 2147483647, \
             got \"60000\"; the default 70000 is used",
        ),
        ("leaderServes=false", "leaderServes: expected yes or no; anything but no means yes"),
        (
            "ssl.keyStore.location=/x",
            "ssl.keyStore.location: no effect: this version has no TLS, and refuses the keys that switch it on",
        ),
        (
            "netty.advancedFlowControl.enabled=true",
            "netty.advancedFlowControl.enabled: no effect: requests take another way here",
        ),
        ("peerType=observer", "peerType: no effect: a single node has nobody to observe"),
        (
            "autopurge.snapRetainCount=1",
            "autopurge.snapRetainCount: at least 3 snapshots are kept; 3 is used",
        ),
        (
            "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider",
            "metricsProvider.className: no effect yet: there is no Prometheus endpoint; use the word mntr",
        ),
        (
            "admin.serverPort=8080",
            "admin.serverPort: no effect yet: there is no admin HTTP server; use the four-letter words",
        ),
        (
            "4lw.commands.whitelist=ruok,quit",
            &format!(
                "4lw.commands.whitelist: no such word: quit; there are {}",
                Word::ALL.map(Word::name).join(", ")
            ),
        ),
        (
            "server.7=a:1:2",
            "server.7: there is no /var/lib/zookeeper/myid: this node takes itself for server.7",
        ),
        (
            "jute.maxbuffer=4194304",
            "jute.maxbuffer: honoured here; the reference takes it only as -Djute.maxbuffer",
        ),
        (
            "DigestAuthenticationProvider.superDigest=secret",
            "DigestAuthenticationProvider.superDigest: expected super:<digest>, as Apache's generator prints it; nobody can be super",
        ),
    ] {
        let line_of_it = 2 + line.lines().count();
        assert_eq!(warnings_of(line), [format!("zoo.cfg:{line_of_it}: {text}")]);
    }
}

#[test]
fn lenient_numbers_fall_back_to_the_default_and_say_so() {
    let Loaded { config, warnings } =
        fine(&format!("{MINIMAL}maxCnxns=-1\njute.maxbuffer=7\nnio.sessionlessCnxnTimeout=0x64\n"));
    assert_eq!(config.max_connections, 0);
    assert_eq!((config.max_request_bytes, config.sessionless_timeout_ms), (1_048_575, 100));
    assert_eq!(
        printed(&warnings),
        [
            "zoo.cfg:3: maxCnxns: expected a whole number, 0 for no limit, from 0 to 2147483647, got \"-1\"; the default 0 is used",
            "zoo.cfg:4: jute.maxbuffer: honoured here; the reference takes it only as -Djute.maxbuffer",
            "zoo.cfg:4: jute.maxbuffer: expected a whole number of bytes from 1024 to 536862720, got \"7\"; the default 1048575 is used",
        ]
    );
}

#[test]
fn giving_up_durability_or_security_is_a_danger_and_only_for_the_exact_word() {
    for (line, danger) in
        [("forceSync=no", true), ("forceSync=NO", false), ("skipACL=yes", true), ("skipACL=true", false)]
    {
        let Loaded { config, warnings } = fine(&format!("{MINIMAL}{line}\n"));
        assert_eq!(!config.force_sync || !config.check_acls, danger, "{line}");
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].severity == Severity::Danger, danger, "{line}");
    }
}

#[test]
fn an_unknown_key_is_a_warning_with_a_guess() {
    for (line, text) in [
        ("tikTime=1", "tikTime: no such key, no effect; did you mean tickTime?"),
        ("ticktime=1", "ticktime: no such key, no effect; did you mean tickTime?"),
        ("maxClientConnxns=1", "maxClientConnxns: no such key, no effect; did you mean maxClientCnxns?"),
        ("quota.of.bananas=1", "quota.of.bananas: no such key, no effect"),
        (
            "zookeeper.snapCount=1",
            "zookeeper.snapCount: no effect: in the file the key is snapCount, the prefix belongs to -D flags only",
        ),
        ("=1", ": a value without a key has no effect"),
        ("authProvider.=1", "authProvider.: no such key, no effect"),
    ] {
        assert_eq!(warnings_of(line), [format!("zoo.cfg:3: {text}")]);
    }
}

#[test]
fn an_unknown_key_of_our_own_is_an_error() {
    let keys = "the keys are ringkeeper.cores, ringkeeper.fronts, ringkeeper.commitsInFlight, \
                ringkeeper.maxReplyBytes, ringkeeper.maxUnsentBytes, ringkeeper.logSegmentBytes, \
                ringkeeper.electionFinalizeMs";
    for key in ["ringkeeper.core", "Ringkeeper.cores", "ringkeeper."] {
        assert_eq!(error_of(&format!("{key}=1")), format!("zoo.cfg:3: {key}: there is no such key; {keys}"));
    }
}

#[test]
fn the_last_of_several_lines_counts_even_if_an_earlier_one_is_bad() {
    let Loaded { config, warnings } = fine(&format!("tickTime=bad\n{MINIMAL}tickTime=500\n"));
    assert_eq!(config.tick_ms, 500);
    assert_eq!(printed(&warnings), ["zoo.cfg:1: tickTime: given again on line 4, which counts"]);
}

#[test]
fn messages_stay_on_one_line_and_short() {
    let message = error_of(&format!("tickTime=a\\nb{}", "x".repeat(5000)));
    assert!(
        message.starts_with("zoo.cfg:3: tickTime=a\\nbxxx") && message.contains("xxx...: expected"),
        "{message}"
    );
    assert!(message.len() < 300);
    assert_eq!(warnings_of("a\\nb=1"), ["zoo.cfg:3: a\\nb: no such key, no effect"]);
}

#[test]
fn bytes_above_ascii_are_latin_1_with_a_warning() {
    let loaded = parse("zoo.cfg", b"dataDir=/caf\xe9\nclientPort=1\n").unwrap();
    assert_eq!(loaded.config.data_dir, PathBuf::from("/caf\u{e9}"));
    assert!(
        loaded.warnings[0]
            .to_string()
            .starts_with("zoo.cfg:1: dataDir: bytes above 0x7f are read as Latin-1")
    );
}

#[test]
fn a_malformed_escape_ends_the_start() {
    assert_eq!(
        parse("zoo.cfg", b"a=1\nb=\\u12\n").unwrap_err().to_string(),
        "zoo.cfg:2: malformed escape: \\u must be followed by four hexadecimal digits"
    );
}
