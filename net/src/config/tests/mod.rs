//! What a zoo.cfg becomes, and what is said about it.

use std::{net::Ipv6Addr, path::PathBuf, time::Duration};

use super::*;
use crate::admin::{Whitelist, Word};
use crate::member::policy::{PurgeEvery, SnapshotPolicy};

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

mod judged;
mod members;

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
    assert_eq!(config.ensemble, None);
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
    assert_eq!(config.ensemble, None);
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
         maxCnxns=12\njute.maxbuffer.extrasize=4096\nforceSync=yes\n\
         4lw.commands.whitelist=ruok, mntr\nskipACL=no\nDigestAuthenticationProvider.superDigest=super:abc=\n\
         digest.enabled=false\nnio.sessionlessCnxnTimeout=250\nfsync.warningthresholdms=20\n\
         clientTcpKeepAlive=true\ndatadir.autocreate=false\n\
         snapCount=5000\nsnapSizeLimitInKb=1048576\n\
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
    assert_eq!((config.max_request_bytes, config.max_request_extra_bytes), (1_048_575, 4096));
    assert!(config.force_sync && config.check_acls && !config.digest && !config.extended_types);
    assert!(config.tcp_keep_alive && !config.create_data_dir);
    assert!(
        config.words.allows(Word::Ruok)
            && config.words.allows(Word::Srvr)
            && !config.words.allows(Word::Stat)
    );
    assert_eq!(config.super_digest, Some(SuperDigest("super:abc=".into())));
    assert_eq!(config.sessionless_timeout_ms, 250);
    assert_eq!(config.fsync_warning, Duration::from_millis(20));
    let policy = SnapshotPolicy { count: 5000, bytes: Some(1 << 30), keep: 5, purge: PurgeEvery::Snapshot };
    assert_eq!(config.snapshots, policy);
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
    // A batch must fit, too.
    assert_eq!(segment("jute.maxbuffer=32768\npreAllocSize=1"), 1 << 20);
    assert_eq!(segment("jute.maxbuffer=268435456"), (512 << 20) + 16_384);
    // No two sizes add up to more than the log takes.
    assert_eq!(segment("jute.maxbuffer=536862720"), 1 << 30);
    assert_eq!(segment("jute.maxbuffer=536862721"), 64 << 20);
    assert_eq!(segment("jute.maxbuffer=4194304\njute.maxbuffer.extrasize=1069531136"), 1 << 30);
    assert_eq!(segment("jute.maxbuffer=4194304\njute.maxbuffer.extrasize=1069531137"), 64 << 20);
    assert_eq!(segment("ringkeeper.logSegmentBytes=1073741824"), 1 << 30);
    assert_eq!(
        warnings_of("preAllocSize=1"),
        [
            "zoo.cfg:3: preAllocSize: log segments are 2113536 bytes instead: a multiple of 4096 with room for the \
          largest transaction, and at most 1073741824"
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
    for (value, millis) in [
        ("0", 0),
        ("-1", 0),
        ("2", 7_200_000),
        ("90m", 5_400_000),
        ("15ms", 15),
        ("3 s", 3000),
        ("1d", 86_400_000),
    ] {
        let config = fine(&format!("{MINIMAL}autopurge.purgeInterval={value}\n")).config;
        let expected = match millis {
            0 => PurgeEvery::Never,
            millis => PurgeEvery::Interval(Duration::from_millis(millis)),
        };
        assert_eq!(config.snapshots.purge, expected, "{value}");
    }
}

#[test]
fn snapshots_are_made_as_the_reference_makes_them_and_purged_unless_that_is_forbidden() {
    assert_eq!(silent(MINIMAL).snapshots, SnapshotPolicy::default());
    let by_default = SnapshotPolicy::default();
    assert_eq!((by_default.count, by_default.bytes, by_default.keep), (100_000, Some(4 << 30), 3));
    assert_eq!(by_default.purge, PurgeEvery::Snapshot);
    for (lines, count, bytes) in [
        ("snapCount=-7", 2, Some(4 << 30)),
        ("snapCount=0x10\nsnapSizeLimitInKb=1", 16, Some(1024)),
        ("snapSizeLimitInKb=0", 100_000, None),
        ("snapSizeLimitInKb=-1", 100_000, None),
    ] {
        let policy = fine(&format!("{MINIMAL}{lines}\n")).config.snapshots;
        assert_eq!((policy.count, policy.bytes), (count, bytes), "{lines}");
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
fn the_super_digest_is_never_printed() {
    let config = silent(&format!("{MINIMAL}DigestAuthenticationProvider.superDigest=super:hush\n"));
    assert!(!format!("{config:?}").contains("hush"));
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

#[test]
fn the_manual_names_every_key_and_every_word() {
    let manual = include_str!("../../../../docs/operations.md");
    let named: hashbrown::HashSet<&str> = manual.split([' ', '|', ',', '`', '\n']).collect();
    let missing: Vec<&str> = keys::KEYS
        .iter()
        .map(|key| key.name)
        .chain(Word::ALL.map(Word::name))
        .filter(|name| !named.contains(name) && *name != "telnet close")
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

proptest::proptest! {
    #[test]
    fn any_file_gives_a_consistent_configuration_or_one_line_of_error(
        lines in proptest::collection::vec((0..keys::KEYS.len(), 0..VALUES.len()), 0..12),
        noise in proptest::collection::vec(proptest::num::u8::ANY, 0..30),
    ) {
        let mut text = Vec::new();
        for (key, value) in lines {
            text.extend_from_slice(keys::KEYS[key].name.replace('*', "1").as_bytes());
            text.push(b'=');
            text.extend_from_slice(VALUES[value].as_bytes());
            text.push(b'\n');
        }
        text.extend_from_slice(&noise);
        for begins in [MINIMAL, OF_AN_ENSEMBLE] {
            fuzz(&[begins.as_bytes(), &text].concat());
        }
    }
}

const OF_AN_ENSEMBLE: &str = "dataDir=/d\nclientPort=1\ninitLimit=1\nsyncLimit=1\nserver.1=h:1:2\nserver.2=[::1]:1:2;3\n\
                              server.3=i:1:2:observer\n";

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
