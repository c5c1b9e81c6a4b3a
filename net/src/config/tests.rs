use std::{net::Ipv6Addr, path::PathBuf, time::Duration};

use super::*;
use crate::admin::{Whitelist, Word};

const MINIMAL: &str = "dataDir=/var/lib/zookeeper\nclientPort=2181\n";

fn fine(text: &str) -> Loaded {
    parse("zoo.cfg", text.as_bytes()).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn silent(text: &str) -> Config {
    let Loaded { config, warnings } = fine(text);
    assert_eq!(printed(&warnings), Vec::<String>::new(), "{text}");
    config
}

fn printed(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(Warning::to_string).collect()
}

/// The message for a file of MINIMAL and one more line, the third.
fn error_of(line: &str) -> String {
    match parse("zoo.cfg", format!("{MINIMAL}{line}\n").as_bytes()) {
        Ok(loaded) => panic!("{line} was accepted: {loaded:?}"),
        Err(error) => error.to_string(),
    }
}

/// The warnings for a file of MINIMAL and one more line.
fn warnings_of(line: &str) -> Vec<String> {
    printed(&fine(&format!("{MINIMAL}{line}\n")).warnings)
}

#[test]
fn the_sample_file_of_the_reference_is_served_without_a_warning() {
    let sample = "# The number of milliseconds of each tick\ntickTime=2000\n# (comments)\ninitLimit=10\n\
                  syncLimit=5\n# example sakes.\ndataDir=/tmp/zookeeper\n\nclientPort=2181\n\
                  #maxClientCnxns=60\n#autopurge.snapRetainCount=3\n#autopurge.purgeInterval=1\n\n\
                  ## Metrics Providers\n#metricsProvider.httpPort=7000\n";
    let config = silent(sample);
    assert_eq!(config.data_dir, PathBuf::from("/tmp/zookeeper"));
    assert_eq!(config.data_log_dir, PathBuf::from("/tmp/zookeeper"));
    assert_eq!(config.listen, Listen { ip: None, port: 2181 });
    assert_eq!(config.tick_ms, 2000);
    assert_eq!((config.min_session_timeout_ms, config.max_session_timeout_ms), (4000, 40_000));
    assert_eq!(config.max_connections_per_address, 60);
    assert_eq!((config.init_limit, config.sync_limit), (10, 5));
    assert_eq!(config.words, Whitelist::reference());
}

#[test]
fn the_file_of_the_official_image_is_served_with_its_client_port() {
    let image = "dataDir=/data\ndataLogDir=/datalog\ntickTime=2000\ninitLimit=5\nsyncLimit=2\n\
                 autopurge.snapRetainCount=3\nautopurge.purgeInterval=0\nmaxClientCnxns=60\n\
                 standaloneEnabled=true\nadmin.enableServer=true\n\
                 server.1=localhost:2888:3888;2181\n";
    let outside = Outside { read_my_id: |_| Ok("1\n".to_owned()), ..Outside::NOTHING };
    let Loaded { config, warnings } = settle(Some(("zoo.cfg", image.as_bytes())), &[], &outside).unwrap();
    assert_eq!(config.listen, Listen { ip: None, port: 2181 });
    assert_eq!(config.data_log_dir, PathBuf::from("/datalog"));
    assert_eq!(config.members.len(), 1);
    assert_eq!((config.members[0].quorum_port, config.members[0].election_port), (2888, 3888));
    assert_eq!(
        printed(&warnings),
        [
            "zoo.cfg:10: admin.enableServer: no effect yet: there is no admin HTTP server; use the four-letter words"
        ]
    );
}

#[test]
fn every_followed_key_arrives() {
    let config = silent(
        "tickTime=1000\ndataDir=/d\ndataLogDir=/l\nclientPort=0\nclientPortAddress=127.0.0.1\n\
         clientPortListenBacklog=77\nminSessionTimeout=1500\nmaxSessionTimeout=9000\nmaxClientCnxns=0\n\
         maxCnxns=12\nglobalOutstandingLimit=500\njute.maxbuffer.extrasize=4096\nforceSync=yes\n\
         4lw.commands.whitelist=ruok, mntr\nskipACL=no\nDigestAuthenticationProvider.superDigest=super:abc=\n\
         digest.enabled=false\nnio.sessionlessCnxnTimeout=250\nfsync.warningthresholdms=20\n\
         extendedTypesEnabled=TRUE\nclientTcpKeepAlive=true\ndatadir.autocreate=false\n\
         autopurge.snapRetainCount=5\nringkeeper.cores=2, 0\nringkeeper.commitsInFlight=16\n\
         ringkeeper.maxReplyBytes=2000000\nringkeeper.maxUnsentBytes=3000000\n\
         ringkeeper.logSegmentBytes=16777216\n",
    );
    assert_eq!(config.tick_ms, 1000);
    assert_eq!((config.data_dir, config.data_log_dir), ("/d".into(), "/l".into()));
    assert_eq!(config.listen.to_string(), "127.0.0.1:0");
    assert_eq!(config.listen_backlog, Some(77));
    assert_eq!((config.min_session_timeout_ms, config.max_session_timeout_ms), (1500, 9000));
    assert_eq!((config.max_connections_per_address, config.max_connections), (0, 12));
    assert_eq!(config.outstanding_limit, 500);
    assert_eq!((config.max_request_bytes, config.max_request_extra_bytes), (1_048_575, 4096));
    assert!(config.force_sync && config.check_acls && !config.digest && config.extended_types);
    assert!(config.tcp_keep_alive && !config.create_data_dir);
    assert!(
        config.words.allows(Word::Ruok)
            && config.words.allows(Word::Srvr)
            && !config.words.allows(Word::Stat)
    );
    assert_eq!(config.super_digest, Some(SuperDigest("super:abc=".into())));
    assert_eq!(config.sessionless_timeout_ms, 250);
    assert_eq!(config.fsync_warning, Duration::from_millis(20));
    assert_eq!(config.autopurge, Autopurge { snapshots: 5, interval: None });
    assert_eq!(config.loops, Loops { cores: vec![2, 0], fronts: 1 });
    assert_eq!(config.commits_in_flight, 16);
    assert_eq!((config.max_reply_bytes, config.max_unsent_bytes), (2_000_000, 3_000_000));
    assert_eq!(config.log_segment_bytes, 16 << 20);
}

#[test]
fn without_a_file_the_node_serves_this_machine_only() {
    let Loaded { config, warnings } = settle(None, &[], &Outside::NOTHING).unwrap();
    assert_eq!(printed(&warnings), Vec::<String>::new());
    assert_eq!(config.listen.to_string(), "127.0.0.1:2181");
    assert_eq!(config.data_dir, PathBuf::from("./ringkeeper-data"));
    assert_eq!(config.tick_ms, 2000);
    for word in Word::ALL {
        use Word::*;
        let harmless = matches!(word, Ruok | Srvr | Stat | Envi | Mntr | Conf | Isro);
        assert_eq!(config.words.allows(word), harmless, "{word:?}");
    }
}

#[test]
fn a_file_without_a_tick_has_the_tick_of_the_reference() {
    let config = silent(MINIMAL);
    assert_eq!(
        (config.tick_ms, config.min_session_timeout_ms, config.max_session_timeout_ms),
        (3000, 6000, 60_000)
    );
}

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
        ("ringkeeper.logSegmentBytes=1", "a whole number of bytes from 2113536 to 4294967296".into()),
        ("ringkeeper.logSegmentBytes=16777217", "a multiple of 4096 bytes from 2113536 to 4294967296".into()),
        (
            "server.1=localhost",
            "host:quorumPort:electionPort[:participant|observer][;[clientAddress:]clientPort] with \
                                two different ports from 1 to 65535"
                .into(),
        ),
        ("server.x=localhost:1:2", "a server number after `server.`: a whole number from 0".into()),
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
        ("sslQuorum=true", "ensembles are not there yet"),
        ("group.1=1:2:3", "ensembles are not there yet"),
        ("weight.1=1", "ensembles are not there yet"),
        ("oraclePath=/x", "ensembles are not there yet"),
        ("dynamicConfigFile=/conf/zoo.cfg.dynamic", "ensembles are not there yet"),
        ("multiAddress.enabled=true", "ensembles are not there yet"),
        ("quorum.auth.enableSasl=True", "ensembles are not there yet"),
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
        ("server.1=a:1:2\nserver.2=b:1:2", "2 server lines make an ensemble"),
        ("server.1=a:1:2:observer", "ensembles are not there yet"),
        ("server.1=a:1:2;2181;2281", "TLS is not there yet"),
        ("server.1=a:1:2|b:1:2", "several addresses"),
        ("standaloneEnabled=false\nserver.1=a:1:2", "ensembles are not there yet"),
    ] {
        let message = error_of(line);
        assert!(message.contains(": refused: ") && message.contains(why), "{line}\n{message}");
        assert!(message.starts_with("zoo.cfg:3: ") || message.starts_with("zoo.cfg:4: "), "{message}");
    }
    assert_eq!(
        error_of("server.1=a:1:2\nserver.2=b:1:2"),
        "zoo.cfg:4: server.2=b:1:2: refused: 2 server lines make an ensemble; this version serves as a single node, \
         ensembles are not there yet; keep one server line, or none"
    );
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
        "standaloneEnabled=false",
        "metricsProvider.className=org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
        "metricsProvider.httpPort=7000",
        "peerType=participant",
        "admin.enableServer=false\nadmin.serverPort=8080",
        "commitProcessor.numWorkerThreads=8",
        "snapCount=100000",
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
        ("snapCount=5", "snapCount: no effect yet: this version keeps its log and writes no snapshots"),
        (
            "autopurge.purgeInterval=24",
            "autopurge.purgeInterval: no effect yet: the log is kept whole until there are snapshots",
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
        ("localSessionsEnabled=true", "localSessionsEnabled: no effect: every session is a global one"),
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
        assert_eq!(warnings_of(line), [format!("zoo.cfg:3: {text}")]);
    }
}

#[test]
fn lenient_numbers_fall_back_to_the_default_and_say_so() {
    let Loaded { config, warnings } = fine(&format!(
        "{MINIMAL}globalOutstandingLimit=lots\nmaxCnxns=-1\njute.maxbuffer=7\nnio.sessionlessCnxnTimeout=0x64\n"
    ));
    assert_eq!((config.outstanding_limit, config.max_connections), (1000, 0));
    assert_eq!((config.max_request_bytes, config.sessionless_timeout_ms), (1_048_575, 100));
    assert_eq!(
        printed(&warnings),
        [
            "zoo.cfg:3: globalOutstandingLimit: expected a whole number from 1 to 2147483647; the default 1000 is used",
            "zoo.cfg:4: maxCnxns: expected a whole number, 0 for no limit, from 0 to 2147483647; the default 0 is used",
            "zoo.cfg:5: jute.maxbuffer: honoured here; the reference takes it only as -Djute.maxbuffer",
            "zoo.cfg:5: jute.maxbuffer: expected a whole number of bytes from 1024 to 1073741824; the default 1048575 is used",
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
                ringkeeper.maxReplyBytes, ringkeeper.maxUnsentBytes, ringkeeper.logSegmentBytes";
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
fn a_node_needs_a_data_directory_and_a_client_port() {
    let message = |text: &str| parse("zoo.cfg", text.as_bytes()).unwrap_err().to_string();
    assert_eq!(
        message("clientPort=1\n"),
        "zoo.cfg: dataDir is missing: it is the directory that the node keeps its data in"
    );
    assert_eq!(
        message("dataDir=/d\n"),
        "zoo.cfg: clientPort is missing: clients could not connect; write clientPort=2181"
    );
    assert_eq!(
        message("dataDir=/d\nclientPortAddress=::1\n"),
        "zoo.cfg: clientPort is missing: clientPortAddress needs it"
    );
}

#[test]
fn the_client_part_of_our_server_line_is_where_clients_connect() {
    for (line, listen) in [
        ("server.1=h:2888:3888;2181", "*:2181"),
        ("server.1=h:2888:3888:participant;127.0.0.1:2182", "127.0.0.1:2182"),
        ("server.1=[::1]:2888:3888;[::1]:2183", "[::1]:2183"),
        ("server.1=h:2888:3888:PARTICIPANT;0.0.0.0:2184", "*:2184"),
    ] {
        let config = fine(&format!("dataDir=/d\n{line}\n")).config;
        assert_eq!(config.listen.to_string(), listen, "{line}");
    }
    // A wildcard static address only needs the same port; another address must be the same.
    let both = |first: &str| {
        parse("zoo.cfg", format!("dataDir=/d\n{first}\nserver.1=h:1:2;127.0.0.1:9\n").as_bytes())
    };
    assert_eq!(both("clientPort=9").unwrap().config.listen.to_string(), "127.0.0.1:9");
    assert!(both("clientPort=9\nclientPortAddress=127.0.0.1").is_ok());
    assert!(both("clientPort=9\nclientPortAddress=127.0.0.2").is_err());
}

#[test]
fn myid_must_name_our_server_line() {
    let message = |read_my_id: fn(&Path) -> io::Result<String>| {
        let outside = Outside { read_my_id, ..Outside::NOTHING };
        let text = format!("{MINIMAL}server.3=h:1:2\n");
        settle(Some(("zoo.cfg", text.as_bytes())), &[], &outside)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(message(|_| Ok(" 3 \n".into())), Ok(()));
    assert_eq!(
        message(|_| Ok("4".into())),
        Err("/var/lib/zookeeper/myid: holds 4, but zoo.cfg:3 has only server.3".into())
    );
    assert_eq!(
        message(|_| Ok("three".into())),
        Err("/var/lib/zookeeper/myid: expected the number of this server and nothing else".into())
    );
    assert_eq!(
        message(|_| Err(io::ErrorKind::PermissionDenied.into())),
        Err("/var/lib/zookeeper/myid: reading the number of this server failed: permission denied".into())
    );
}

#[test]
fn addresses_and_names_are_resolved() {
    let outside =
        Outside { resolve: |host| (host == "me").then_some(Ipv6Addr::LOCALHOST.into()), ..Outside::NOTHING };
    let listen = |address: &str| {
        let text = format!("{MINIMAL}clientPortAddress={address}\n");
        settle(Some(("zoo.cfg", text.as_bytes())), &[], &outside).unwrap().config.listen.to_string()
    };
    assert_eq!(listen("me"), "[::1]:2181");
    assert_eq!(listen("[::1]"), "[::1]:2181");
    assert_eq!(listen("::"), "*:2181");
    assert_eq!(listen("10.0.0.1"), "10.0.0.1:2181");
}

#[test]
fn segments_follow_pre_alloc_size_unless_ours_is_given() {
    let segment = |lines: &str| fine(&format!("{MINIMAL}{lines}\n")).config.log_segment_bytes;
    assert_eq!(segment(""), 64 << 20);
    assert_eq!(segment("preAllocSize=4096"), 4 << 20);
    assert_eq!(segment("preAllocSize=4096\nringkeeper.logSegmentBytes=8388608"), 8 << 20);
    assert_eq!(segment("preAllocSize=junk"), 64 << 20);
    // Room for the largest transaction comes first.
    assert_eq!(segment("preAllocSize=1"), 2_113_536);
    assert_eq!(segment("jute.maxbuffer=268435456"), (512 << 20) + 16_384);
    assert_eq!(
        warnings_of("preAllocSize=1"),
        [
            "zoo.cfg:3: preAllocSize: log segments are 2113536 bytes instead: a multiple of 4096 with room for the \
          largest transaction, and at most 4294967296"
        ]
    );
}

#[test]
fn what_can_be_written_can_be_read() {
    let config = fine(&format!("{MINIMAL}jute.maxbuffer=100000000\n")).config;
    assert!(config.max_reply_bytes > config.max_request_bytes);
    assert!(config.max_unsent_bytes >= u64::from(config.max_reply_bytes));
}

#[test]
fn purge_intervals_have_units() {
    for (value, interval) in [
        ("0", None),
        ("-1", None),
        ("2", Some(7_200_000)),
        ("90m", Some(5_400_000)),
        ("15ms", Some(15)),
        ("3 s", Some(3000)),
        ("1d", Some(86_400_000)),
    ] {
        let config = fine(&format!("{MINIMAL}autopurge.purgeInterval={value}\n")).config;
        assert_eq!(config.autopurge.interval, interval.map(Duration::from_millis), "{value}");
    }
}

#[test]
fn jvm_flags_count_less_than_the_file() {
    let flags = |text: &str| [("SERVER_JVMFLAGS", text.to_owned())];
    let settled =
        |file: &str, text: &str| settle(Some(("zoo.cfg", file.as_bytes())), &flags(text), &Outside::NOTHING);
    let given = "-Xmx512m -Dzookeeper.maxCnxns=7 -Djute.maxbuffer=0x200000 -Dcom.sun.management.jmxremote \
                 -Dzookeeper.tickTime=1 -Dzookeeper.jute.maxbuffer=1 -Dzookeeper.4lw.commands.whitelist=* \
                 -Dreadonlymode.enabled=true -Dzookeeper.unheard.of=1";
    let Loaded { config, warnings } = settled(MINIMAL, given).unwrap();
    assert_eq!(printed(&warnings), Vec::<String>::new());
    assert_eq!((config.max_connections, config.max_request_bytes, config.tick_ms), (7, 0x20_0000, 3000));
    assert!(Word::ALL.into_iter().all(|word| config.words.allows(word)));

    let Loaded { config, .. } =
        settled(&format!("{MINIMAL}maxCnxns=8\n4lw.commands.whitelist=\n"), given).unwrap();
    assert_eq!(config.max_connections, 8);
    assert!(config.words.allows(Word::Isro) && !config.words.allows(Word::Ruok));

    assert_eq!(
        settled(MINIMAL, "-Dzookeeper.ensembleAuthName=x").unwrap_err().to_string(),
        "SERVER_JVMFLAGS: ensembleAuthName=x: refused: the scheme ensemble is not there yet: clients of another \
         ensemble would not be turned away"
    );
    let two = [
        ("SERVER_JVMFLAGS", "-Dzookeeper.maxCnxns=1".to_owned()),
        ("JVMFLAGS", "-Dzookeeper.maxCnxns=2".into()),
    ];
    assert_eq!(settle(None, &two, &Outside::NOTHING).unwrap().config.max_connections, 2);
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
fn the_super_digest_is_never_printed() {
    let config = silent(&format!("{MINIMAL}DigestAuthenticationProvider.superDigest=super:hush\n"));
    assert!(!format!("{config:?}").contains("hush"));
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

#[test]
fn files_that_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("zoo.cfg");
    assert_eq!(
        load(Some(&missing)).unwrap_err().to_string(),
        format!(
            "{}: no such file; give the path of a zoo.cfg, or no path at all to serve on the defaults",
            missing.display()
        )
    );
    let message = load(Some(dir.path())).unwrap_err().to_string();
    assert!(
        message.starts_with(&format!("{}: reading the configuration failed: ", dir.path().display())),
        "{message}"
    );
    let large = dir.path().join("large");
    std::fs::write(&large, vec![b'#'; 1 << 20 | 1]).unwrap();
    assert!(
        load(Some(&large))
            .unwrap_err()
            .to_string()
            .ends_with("larger than 1048576 bytes: not a configuration file")
    );
    let good = dir.path().join("good.cfg");
    std::fs::write(&good, MINIMAL).unwrap();
    assert_eq!(load(Some(&good)).unwrap().config.data_dir, PathBuf::from("/var/lib/zookeeper"));
}

#[test]
fn no_key_stands_twice_in_the_table_and_every_used_one_is_read() {
    for (i, key) in keys::KEYS.iter().enumerate() {
        assert!(!keys::KEYS[..i].iter().any(|other| other.name == key.name), "{} twice", key.name);
    }
    // A key that `apply` forgets trips its own assertion, so giving each of them is enough.
    for key in keys::KEYS.iter().filter(|key| key.handling == Handling::Used) {
        let name = key.name.replace(".*", ".1");
        drop(parse("zoo.cfg", format!("{MINIMAL}{name}=1\n").as_bytes()));
        drop(parse("zoo.cfg", format!("{MINIMAL}{name}=true\n").as_bytes()));
    }
}

proptest::proptest! {
    #[test]
    fn any_file_gives_a_consistent_configuration_or_one_line_of_error(
        lines in proptest::collection::vec((0..keys::KEYS.len(), 0..VALUES.len()), 0..12),
        noise in proptest::collection::vec(proptest::num::u8::ANY, 0..30),
    ) {
        let mut text = MINIMAL.as_bytes().to_vec();
        for (key, value) in lines {
            text.extend_from_slice(keys::KEYS[key].name.replace('*', "1").as_bytes());
            text.push(b'=');
            text.extend_from_slice(VALUES[value].as_bytes());
            text.push(b'\n');
        }
        text.extend_from_slice(&noise);
        fuzz(&text);
    }
}

const VALUES: [&str; 16] = [
    "",
    "0",
    "1",
    "-1",
    "true",
    "false",
    "yes",
    "no",
    "2147483647",
    "4294967296",
    "-2147483648",
    "65536",
    "9223372036854775807",
    "0x7fffffff",
    "h:1:2;3",
    "a\\nb\\u0000c",
];
