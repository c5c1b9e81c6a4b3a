//! Ensembles: who is a member, what is a quorum, and what members show each other.

use ringkeeper_engine::id::Sid;

use super::*;

const LIMITS: &str = "dataDir=/d\nclientPort=2181\ninitLimit=10\nsyncLimit=5\n";
const THREE: &str =
    "server.1=127.0.0.1:22211:22221\nserver.2=127.0.0.1:22212:22222\nserver.3=127.0.0.1:22213:22223\n";

/// The second of several.
const SECOND: Outside = Outside { read_my_id: |_| Ok("2\n".to_owned()), ..Outside::NOTHING };

fn load_as(outside: &Outside, text: &str) -> Result<Loaded, String> {
    settle(Some(("zoo.cfg", text.as_bytes())), &[], outside).map_err(|error| error.to_string())
}

/// The configuration of server 2 with these lines, and the warnings.
fn second(lines: &str) -> (Ensemble, Vec<String>) {
    let Loaded { config, warnings } = load_as(&SECOND, &format!("{LIMITS}{lines}")).unwrap();
    (config.ensemble.unwrap(), printed(&warnings))
}

/// The message for server 2 with these lines, the fifth and so on.
fn refusal(lines: &str) -> String {
    load_as(&SECOND, &format!("{LIMITS}{lines}")).map(|loaded| format!("{loaded:?}")).unwrap_err()
}

#[test]
fn three_server_lines_make_an_ensemble_with_the_text_that_apache_servers_send() {
    let (ensemble, warnings) = second(THREE);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(
        ensemble.config_text,
        "server.1=127.0.0.1:22211:22221:participant\nserver.2=127.0.0.1:22212:22222:participant\n\
         server.3=127.0.0.1:22213:22223:participant\nversion=0"
    );
    // The length in the first notification of a live server.
    assert_eq!(ensemble.config_text.len(), 0x8a);
    assert_eq!((ensemble.me, ensemble.version), (Sid(2), 0));
    assert_eq!(ensemble.own().quorum_port, 22212);
    assert!(ensemble.quorum.is_quorum(|sid| sid.0 < 3) && !ensemble.quorum.is_quorum(|sid| sid.0 < 2));
    assert_eq!((ensemble.init_limit, ensemble.sync_limit, ensemble.connect_to_learner_limit), (10, 5, 10));
    assert_eq!((ensemble.min_notification_ms, ensemble.max_notification_ms), (200, 60_000));
    assert_eq!((ensemble.connect_timeout_ms, ensemble.hello_timeout_ms), (5000, 15_000));
    assert_eq!((ensemble.finalize_ms, ensemble.election_bind_retries), (200, Some(3)));
    assert_eq!((ensemble.commit_log_count, ensemble.snapshot_size_factor), (500, 0.33));
    assert_eq!(ensemble.autocreate, None);
    assert!(ensemble.leader_serves && !ensemble.listen_on_all && !ensemble.read_only_mode);
}

#[test]
fn client_addresses_are_shown_only_if_the_lines_have_them() {
    let (ensemble, _) = second(
        "server.3=c:2888:3888:Observer;[::1]:2183\nserver.2=zk-2.example:2888:3888;2181\nserver.1=[fd00::1]:2888:3888\n\
         server.10=d:2888:3888:participant;127.0.0.1:2184\n",
    );
    assert_eq!(
        ensemble.config_text,
        "server.1=[fd00::1]:2888:3888:participant\nserver.2=zk-2.example:2888:3888:participant;0.0.0.0:2181\n\
         server.3=c:2888:3888:observer;[::1]:2183\nserver.10=d:2888:3888:participant;127.0.0.1:2184\nversion=0"
    );
    let ids: Vec<_> = ensemble.members.iter().map(|member| member.id.0).collect();
    assert_eq!(ids, [1, 2, 3, 10]);
    assert_eq!(ensemble.members[0].host, "fd00::1");
    assert_eq!(ensemble.quorum.voters().map(|sid| sid.0).collect::<Vec<_>>(), [1, 2, 10]);
    assert!(ensemble.quorum.contains(Sid(3)));
}

#[test]
fn clients_connect_where_our_own_line_says() {
    let text = format!("dataDir=/d\ninitLimit=1\nsyncLimit=1\n{}", THREE.replace("22222", "22222;2199"));
    assert_eq!(load_as(&SECOND, &text).unwrap().config.listen.to_string(), "*:2199");
    let text = format!("dataDir=/d\ninitLimit=1\nsyncLimit=1\n{}", THREE.replace("22221", "22221;2199"));
    assert_eq!(
        load_as(&SECOND, &text).unwrap_err(),
        "zoo.cfg: clientPort is missing: clients could not connect; write clientPort=2181"
    );
}

#[test]
fn every_setting_of_an_ensemble_arrives() {
    let (ensemble, warnings) = second(&format!(
        "{THREE}connectToLearnerMasterLimit=3\nquorumListenOnAllIPs=TRUE\nelectionPortBindRetry=0\ncnxTimeout=700\n\
         quorumCnxnTimeoutMs=800\nfastleader.minNotificationInterval=50\nfastleader.maxNotificationInterval=900\n\
         ringkeeper.electionFinalizeMs=20\nleaderServes=no\ndb.autocreate=false\nforceSnapshotSync=true\n\
         snapshotSizeFactor=-1\ncommitLogCount=1000\ntcpKeepAlive=true\npeerType=participant\n"
    ));
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(ensemble.connect_to_learner_limit, 3);
    assert_eq!(ensemble.election_bind_retries, None);
    assert_eq!((ensemble.connect_timeout_ms, ensemble.hello_timeout_ms), (700, 800));
    assert_eq!((ensemble.min_notification_ms, ensemble.max_notification_ms), (50, 900));
    assert_eq!((ensemble.finalize_ms, ensemble.commit_log_count), (20, 1000));
    assert_eq!((ensemble.autocreate, ensemble.snapshot_size_factor), (Some(false), -1.0));
    assert!(ensemble.listen_on_all && !ensemble.leader_serves);
    assert!(ensemble.force_snapshot && ensemble.tcp_keep_alive);
}

#[test]
fn properties_may_also_stand_among_the_flags_of_the_machine() {
    let flags = [(
        "JVMFLAGS",
        "-Dzookeeper.electionPortBindRetry=0 -Dreadonlymode.enabled=true -Dzookeeper.initLimit=7 \
         -Dzookeeper.cnxTimeout=0x10"
            .to_owned(),
    )];
    let text = format!("{LIMITS}{THREE}");
    let loaded = settle(Some(("zoo.cfg", text.as_bytes())), &flags, &SECOND).unwrap();
    let ensemble = loaded.config.ensemble.unwrap();
    assert_eq!((ensemble.election_bind_retries, ensemble.init_limit), (None, 10));
    assert!(ensemble.read_only_mode && loaded.config.words.allows(Word::Isro));
    assert_eq!(ensemble.connect_timeout_ms, 16);
}

#[test]
fn groups_and_weights_make_a_hierarchical_quorum() {
    let (ensemble, warnings) = second(&format!(
        "{THREE}server.4=d:1:2\nserver.5=e:1:2\nserver.9=f:1:2:observer\ngroup.1=1:2:3\ngroup.2=4: 5\nweight.4=0\n\
         weight.2=3\nweight.9=7\n"
    ));
    assert_eq!(warnings, Vec::<String>::new());
    assert!(ensemble.config_text.ends_with(
        "server.9=f:1:2:observer\ngroup.1=1:2:3\ngroup.2=4:5\nweight.1=1\nweight.2=3\nweight.3=1\nweight.4=0\n\
         weight.5=1\nversion=0"
    ));
    assert!(ensemble.quorum.is_quorum(|sid| sid.0 == 2 || sid.0 == 5));
    assert!(!ensemble.quorum.is_quorum(|sid| sid.0 != 5));
    assert!(!ensemble.quorum.may_lead(Sid(4)));
}

#[test]
fn what_does_not_fit_together_is_refused_by_its_line() {
    for (lines, message) in [
        (
            "server.1=a:1:2\nserver.01=b:1:2\n",
            "zoo.cfg:5: server.1=a:1:2: expected a server number of its own; zoo.cfg:6 has 1 already",
        ),
        (
            "server.1=a:1:2\nserver.2=a:3:1\n",
            "zoo.cfg:6: server.2=a:3:1: expected other ports than server.1 has (zoo.cfg:5)",
        ),
        (
            "server.1=a:1:2:observer\nserver.2=b:1:2:observer\n",
            "zoo.cfg:5: server.1=a:1:2:observer: refused: observers need somebody to observe: no server line is a \
             participant",
        ),
        (
            "server.1=a:1:2\nserver.2=b:1:2:observer\n",
            "zoo.cfg:6: server.2=b:1:2:observer: refused: an observer beside a single voter: write \
             standaloneEnabled=false for an ensemble of one voter",
        ),
        (
            "standaloneEnabled=false\n",
            "zoo.cfg:5: standaloneEnabled=false: refused: it asks for an ensemble, and there is no server line to be a \
             member by",
        ),
        ("group.1=1\n", "zoo.cfg:5: group.1=1: refused: there is no server line that it could be about"),
        (
            "server.2=a:1:2\nserver.3=a b:1:2\n",
            "zoo.cfg:6: server.3=a b:1:2: expected host:quorumPort:electionPort[:participant|observer]\
             [;[clientAddress:]clientPort] with two different ports from 1 to 65535",
        ),
        (
            "server.2=a:1:2\nserver.3=b:1:2\ngroup.1=2\n",
            "zoo.cfg:6: server.3=b:1:2: refused: server 3 votes but is in no group; with group or weight lines every \
             voter needs a group",
        ),
        (
            "server.2=a:1:2\nserver.3=b:1:2\nweight.2=4\n",
            "zoo.cfg:7: weight.2=4: expected the weight of a server that is in a group",
        ),
        (
            "server.2=a:1:2\nserver.3=b:1:2\ngroup.1=2:3\ngroup.2=3\n",
            "zoo.cfg:8: group.2=3: expected each server in one group; 3 stands in two",
        ),
        (
            "server.2=a:1:2\nserver.3=b:1:2\ngroup.1=2:3:4\n",
            "zoo.cfg:7: group.1=2:3:4: expected numbers of server lines, separated by colons, such as 1:2:3",
        ),
        (
            "server.2=a:1:2\nserver.3=b:1:2\ngroup.1=2:3\nweight.2=-1\n",
            "zoo.cfg:8: weight.2=-1: expected a weight from 0 to 9223372036854775807",
        ),
        (
            "server.2=a:1:2\nserver.3=b:1:2\ngroup.1=2:3\nweight.2=0\nweight.3=0\n",
            "zoo.cfg:7: group.1=2:3: refused: an ensemble needs a voter that weighs something",
        ),
        (
            "server.2=a:1:2\nserver.3=b:1:2\nserver.4=c:1:2:observer\ngroup.1=2:3:4\n",
            "zoo.cfg:8: group.1=2:3:4: refused: server 4 is in a group but does not vote; groups are for voters",
        ),
        (
            "server.2=a:1:2|b:3:4\nserver.3=c:1:2\n",
            "zoo.cfg:5: server.2=a:1:2|b:3:4: refused: several addresses for one server are not there yet; keep the first",
        ),
    ] {
        assert_eq!(refusal(lines), message);
    }
    for (line, why) in [
        ("reconfigEnabled=true", "changing the members of a running ensemble is not there yet"),
        ("localSessionsEnabled=true", "local sessions are not there yet"),
    ] {
        let message = refusal(&format!("{THREE}{line}\n"));
        assert!(message.starts_with(&format!("zoo.cfg:8: {line}: refused: {why}")), "{message}");
    }
}

#[test]
fn a_member_needs_both_limits() {
    for (missing, why) in [
        ("initLimit", "the ticks a member has for finding its leader; write initLimit=10"),
        ("syncLimit", "the ticks a member may stay silent; write syncLimit=5"),
    ] {
        let message = format!("zoo.cfg: {missing} is missing: {why}");
        let renamed = format!("{LIMITS}{THREE}").replace(missing, "#");
        assert_eq!(load_as(&SECOND, &renamed).unwrap_err(), message);
        let zero = format!("{LIMITS}{THREE}{missing}=0\n");
        assert_eq!(load_as(&SECOND, &zero).unwrap_err(), message);
    }
}

#[test]
fn a_member_needs_a_number_that_is_listed() {
    let message = |read_my_id: fn(&Path) -> io::Result<String>, more: &str| {
        let outside = Outside { read_my_id, ..Outside::NOTHING };
        load_as(&outside, &format!("{LIMITS}{THREE}{more}")).unwrap_err()
    };
    assert_eq!(
        message(|_| Err(io::ErrorKind::NotFound.into()), ""),
        "/d/myid: no such file; it must hold the number of this server, one of 1, 2, 3"
    );
    assert_eq!(
        message(|_| Ok("4".into()), ""),
        "/d/myid: holds 4, and the server lines are those of 1, 2, 3"
    );
    assert_eq!(
        message(|_| Ok("2b".into()), ""),
        "/d/myid: expected the number of this server and nothing else"
    );
    assert_eq!(
        message(|_| Ok("255".into()), "server.255=x:1:2\nextendedTypesEnabled=true\n"),
        "/d/myid: holds 255; with extendedTypesEnabled the largest number is 254"
    );
}

#[test]
fn the_role_in_the_server_line_counts() {
    let (ensemble, warnings) = second(&format!("{THREE}peerType=observer\n"));
    assert!(ensemble.quorum.votes(Sid(2)));
    assert_eq!(warnings, ["zoo.cfg:8: peerType: no effect: the line server.2 says participant"]);
}

#[test]
fn numbers_of_voters_that_buy_nothing_are_pointed_out() {
    let line = |n: u32| format!("server.{n}=h{n}:1:2\n");
    for (lines, text) in [
        (
            format!("{}standaloneEnabled=false\n", line(2)),
            "zoo.cfg:5: server.2: 1 voter bears no failure: at least 3 are needed for that",
        ),
        (line(1) + &line(2), "zoo.cfg:6: server.2: 2 voters bear no failure: at least 3 are needed for that"),
        ((1..=4).map(line).collect(), "zoo.cfg:8: server.4: 4 voters bear no more failures than 3"),
    ] {
        assert_eq!(second(&lines).1, [text]);
    }
}

#[test]
fn empty_members_that_vote_are_a_danger_to_point_out() {
    let (ensemble, warnings) = second(&format!("{THREE}db.autocreate=true\n"));
    assert_eq!(ensemble.autocreate, Some(true));
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with("zoo.cfg:8: db.autocreate: a member with an empty directory votes at once")
    );
}

#[test]
fn the_members_may_stand_in_a_file_of_their_own() {
    const DYNAMIC: Outside = Outside {
        read_file: |path| match path.to_str() {
            Some("/c/zoo.cfg.dynamic.10000000a") => Ok(format!("{THREE}group.1=1:2:3\n").into_bytes()),
            Some("/c/other") => Ok(b"server.1=a:1:2\nversion=5\n".to_vec()),
            Some("/c/empty") => Ok(Vec::new()),
            Some("/c/bad") => Ok(b"\nserver.1=a:1\n".to_vec()),
            _ => Err(ConfigError::Missing { path: path.to_owned() }),
        },
        ..SECOND
    };
    let with = |lines: &str| load_as(&DYNAMIC, &format!("{LIMITS}{lines}\n"));
    let ensemble = with("dynamicConfigFile=/c/zoo.cfg.dynamic.10000000a").unwrap().config.ensemble.unwrap();
    assert_eq!(ensemble.version, 0x1_0000_000a);
    assert!(ensemble.config_text.ends_with("\nweight.3=1\nversion=10000000a"), "{}", ensemble.config_text);
    for (lines, message) in [
        (
            "dynamicConfigFile=/c/zoo.cfg.dynamic.10000000a\nserver.1=a:1:2",
            "zoo.cfg:6: server.1=a:1:2: refused: it belongs into the dynamicConfigFile that zoo.cfg:5 names",
        ),
        (
            "dynamicConfigFile=/c/other",
            "/c/other:2: version=5: refused: a dynamicConfigFile has server, group and weight lines only",
        ),
        (
            "dynamicConfigFile=/c/empty",
            "zoo.cfg:5: dynamicConfigFile=/c/empty: expected a file with server lines",
        ),
        (
            "dynamicConfigFile=/c/none",
            "zoo.cfg:5: dynamicConfigFile=/c/none: expected the path of a file with server lines, and there is none",
        ),
        (
            "dynamicConfigFile=/c/bad",
            "/c/bad:2: server.1=a:1: expected host:quorumPort:electionPort[:participant|observer]\
             [;[clientAddress:]clientPort] with two different ports from 1 to 65535",
        ),
    ] {
        assert_eq!(with(lines).unwrap_err(), message);
    }
}

#[test]
fn the_initialize_marker_is_looked_for_beside_data_and_log() {
    let config = silent(MINIMAL);
    assert_eq!(config.initialize_markers(), [PathBuf::from("/var/lib/zookeeper/initialize")]);
    let config = silent(&format!("{MINIMAL}dataLogDir=/l\n"));
    assert_eq!(
        config.initialize_markers(),
        [PathBuf::from("/var/lib/zookeeper/initialize"), PathBuf::from("/l/initialize")]
    );
}
