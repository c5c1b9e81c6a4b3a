use std::collections::BTreeSet;

use ringkeeper_engine::id::{Epoch, SessionId, Sid, Zxid};

use super::*;
use crate::config::Config;

/// A standalone node on port 22321 with its data in /data.
fn view(metrics: &Metrics) -> NodeView<'_> {
    let config = Config { data_dir: "/data".into(), data_log_dir: "/log".into(), ..Config::embedded() };
    NodeView::new(metrics, Settings::new(&config, 22321))
}

fn answer(word: Word, view: &NodeView<'_>) -> String {
    String::from_utf8(render(word, view)).unwrap()
}

fn plain(peer: &str, interest: u8, received: u64, sent: u64) -> Connection {
    Connection { peer: peer.parse().unwrap(), interest, queued: 0, received, sent, session: None }
}

fn with_session() -> Connection {
    let session = ConnectionSession {
        id: SessionId(0x100_000d_1d0c_0001),
        last_operation: "CREA",
        established_ms: 1_795_286_021_417,
        timeout_ms: 10_000,
        last_cxid: 6,
        last_zxid: Zxid::from_raw(0x11),
        last_response_ms: 946_048,
        last_latency: 2,
        min_latency: 0,
        average_latency: 1,
        max_latency: 4,
    };
    Connection { session: Some(session), ..plain("127.0.0.1:34226", 1, 7, 8) }
}

#[test]
fn words_are_known_by_their_first_four_bytes() {
    for word in Word::ALL {
        if word != Word::TelnetClose {
            let bytes: [u8; 4] = word.name().as_bytes().try_into().unwrap();
            assert_eq!(Word::from_bytes(bytes), Some(word));
        }
    }
    assert_eq!(Word::from_bytes([0xff, 0xf4, 0xff, 0xfd]), Some(Word::TelnetClose));
    for other in [*b"RUOK", *b"quit", *b"GET ", [0, 0, 0, 44], [0x16, 3, 1, 0]] {
        assert_eq!(Word::from_bytes(other), None);
    }
}

#[test]
fn no_word_could_be_the_length_of_a_frame() {
    let longest = i64::from(1 << 30);
    for word in Word::ALL.into_iter().filter(|word| *word != Word::TelnetClose) {
        let bytes: [u8; 4] = word.name().as_bytes().try_into().unwrap();
        assert!(i64::from(i32::from_be_bytes(bytes)) > longest, "{word:?}");
    }
}

#[test]
fn the_whitelist_is_read_as_the_reference_reads_it() {
    let allowed = |list: &str| {
        let (words, _) = Whitelist::parse(list);
        Word::ALL.into_iter().filter(|word| words.allows(*word)).map(Word::name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(allowed(""), "srvr");
    assert_eq!(allowed("ruok"), "ruok srvr");
    assert_eq!(allowed(" stat , ,mntr,"), "srvr stat mntr");
    assert_eq!(allowed("RUOK"), "srvr");
    assert_eq!(allowed("*").split(' ').count(), 20, "all 19, one of them of two words");
    assert_eq!(allowed("ruok,*"), allowed("*"));
    assert_eq!(Whitelist::parse("ruok, quit,Stat").1, ["quit", "Stat"]);
}

#[test]
fn a_word_that_is_not_allowed_gets_one_line() {
    assert_eq!(
        admit(Word::Ruok, Whitelist::reference()),
        Admission::Refuse(b"ruok is not executed because it is not in the whitelist.\n".to_vec())
    );
    assert_eq!(
        admit(Word::TelnetClose, Whitelist::embedded()),
        Admission::Refuse(b"telnet close is not executed because it is not in the whitelist.\n".to_vec())
    );
    assert_eq!(admit(Word::Srvr, Whitelist::reference()), Admission::Answer);
    assert_eq!(admit(Word::TelnetClose, Whitelist::parse("*").0), Admission::Close);
}

#[test]
fn the_short_answers_are_those_of_the_reference() {
    let metrics = Metrics::default();
    let mut view = view(&metrics);
    view.directory_sizes = [457, 458];
    view.trace_mask = 306;
    for (word, text) in [
        (Word::Ruok, "imok"),
        (Word::Isro, "rw"),
        (Word::Crst, "Connection stats reset.\n"),
        (Word::Srst, "Server stats reset.\n"),
        (Word::Dirs, "datadir_size: 457\nlogdir_size: 458\n"),
        (Word::Gtmk, "306"),
        (Word::Stmk, "306"),
        (Word::Wchs, "0 connections watching 0 paths\nTotal watches:0\n"),
        (Word::Wchc, "\n"),
        (Word::Wchp, "\n"),
        (Word::Hash, ""),
        (Word::Cons, "\n"),
    ] {
        assert_eq!(answer(word, &view), text, "{word:?}");
    }
    view.mode = Mode::ReadOnly;
    assert_eq!(answer(Word::Isro, &view), "ro");
}

#[test]
fn a_node_that_does_not_serve_says_so() {
    let metrics = Metrics::default();
    let view = NodeView { serving: false, ..view(&metrics) };
    let text = "This ZooKeeper instance is not currently serving requests";
    for word in Word::ALL {
        let expected = match word {
            Word::Ruok => "imok".to_owned(),
            Word::Isro => "null".to_owned(),
            Word::Gtmk | Word::Stmk => "306".to_owned(),
            Word::Envi | Word::TelnetClose => continue,
            Word::Hash => text.to_owned(),
            _ => format!("{text}\n"),
        };
        assert_eq!(answer(word, &view), expected, "{word:?}");
    }
    assert!(answer(Word::Envi, &view).starts_with("Environment:\nzookeeper.version=3.9.3-"));
}

#[test]
fn srvr_and_stat_are_those_of_the_reference() {
    let mut metrics = Metrics::default();
    for micros in [1_000, 2_000, 38_000] {
        metrics.record(Observed::UpdateLatency, micros);
    }
    let mut view = view(&metrics);
    view.packets_received = 150;
    view.packets_sent = 149;
    view.connection_count = 1;
    view.zxid = Zxid::new(Epoch(1), 0x8f);
    view.node_count = 145;
    let body = "Latency min/avg/max: 1/13.6667/38\nReceived: 150\nSent: 149\nConnections: 1\nOutstanding: 0\n\
                Zxid: 0x10000008f\nMode: standalone\nNode count: 145\n";
    let version = version();
    assert_eq!(answer(Word::Srvr, &view), format!("Zookeeper version: {version}\n{body}"));

    view.connections = vec![with_session(), plain("127.0.0.1:51900", 0, 1, 0)];
    assert_eq!(
        answer(Word::Stat, &view),
        format!(
            "Zookeeper version: {version}\nClients:\n /127.0.0.1:34226[1](queued=0,recved=7,sent=8)\n \
             /127.0.0.1:51900[0](queued=0,recved=1,sent=0)\n\n{body}"
        )
    );

    view.mode = Mode::ReadOnly;
    let read_only = answer(Word::Srvr, &view);
    assert_eq!(read_only.lines().nth(1), Some("READ-ONLY mode; serving only read-only clients"));
    assert!(read_only.contains("\nMode: read-only\n"));
}

#[test]
fn conf_is_that_of_the_reference() {
    let metrics = Metrics::default();
    let mut view = view(&metrics);
    view.directory_sizes = [666, 667];
    assert_eq!(
        answer(Word::Conf, &view),
        "clientPort=22321\nsecureClientPort=-1\ndataDir=/data\ndataDirSize=666\ndataLogDir=/log\ndataLogSize=667\n\
         tickTime=2000\nmaxClientCnxns=60\nminSessionTimeout=4000\nmaxSessionTimeout=40000\n\
         clientPortListenBacklog=-1\nserverId=0\n"
    );
}

#[test]
fn cons_shows_the_session_once_there_is_one() {
    let metrics = Metrics::default();
    let mut view = view(&metrics);
    let mut quiet = with_session();
    let session = quiet.session.as_mut().unwrap();
    session.last_operation = "PING";
    session.last_cxid = -1;
    session.last_zxid = Zxid::from_raw(-1);
    view.connections = vec![plain("127.0.0.1:34252", 0, 1, 0), with_session(), quiet];
    assert_eq!(
        answer(Word::Cons, &view),
        " /127.0.0.1:34252[0](queued=0,recved=1,sent=0)\n \
         /127.0.0.1:34226[1](queued=0,recved=7,sent=8,sid=0x100000d1d0c0001,lop=CREA,est=1795286021417,to=10000,\
         lcxid=0x6,lzxid=0x11,lresp=946048,llat=2,minlat=0,avglat=1,maxlat=4)\n \
         /127.0.0.1:34226[1](queued=0,recved=7,sent=8,sid=0x100000d1d0c0001,lop=PING,est=1795286021417,to=10000,\
         lzxid=0xffffffffffffffff,lresp=946048,llat=2,minlat=0,avglat=1,maxlat=4)\n\n"
    );
}

#[test]
fn dump_is_that_of_the_reference() {
    let metrics = Metrics::default();
    let mut view = view(&metrics);
    assert_eq!(
        answer(Word::Dump, &view),
        "SessionTracker dump:\nSession Sets (0)/(0):\nephemeral nodes dump:\nSessions with Ephemerals (0):\n\
         Connections dump:\nConnections Sets (0)/(0):\n"
    );
    let id = SessionId(0x100_000d_1d0c_0001);
    view.session_buckets = vec![Bucket { expires_ms: 1_795_286_033_000, members: vec![id] }];
    view.ephemeral_paths = vec![(id, vec!["/hold/e-0000000000".into()])];
    view.connection_buckets = vec![Bucket {
        expires_ms: 1_795_286_035_000,
        members: vec![
            ("127.0.0.1:34268".parse().unwrap(), SessionId::NONE),
            ("127.0.0.1:34226".parse().unwrap(), id),
        ],
    }];
    assert_eq!(
        answer(Word::Dump, &view),
        "SessionTracker dump:\nSession Sets (1)/(1):\n1 expire at Sat Nov 21 18:33:53 UTC 2026:\n\
         \t0x100000d1d0c0001\nephemeral nodes dump:\nSessions with Ephemerals (1):\n0x100000d1d0c0001:\n\
         \t/hold/e-0000000000\nConnections dump:\nConnections Sets (1)/(2):\n\
         2 expire at Sat Nov 21 18:33:55 UTC 2026:\n\tip: /127.0.0.1:34268 sessionId: 0x0\n\
         \tip: /127.0.0.1:34226 sessionId: 0x100000d1d0c0001\n"
    );
}

#[test]
fn watches_are_listed_from_both_ends() {
    let metrics = Metrics::default();
    let mut view = view(&metrics);
    view.data_watches = DataWatches { connections: 2, paths: 2, pairs: 3 };
    view.watched_paths =
        vec![(SessionId(0x1b), vec!["/b".into(), "/a".into()]), (SessionId(0x1a), vec!["/b".into()])];
    assert_eq!(answer(Word::Wchs, &view), "2 connections watching 2 paths\nTotal watches:3\n");
    assert_eq!(answer(Word::Wchc, &view), "0x1b\n\t/b\n\t/a\n0x1a\n\t/b\n\n");
    assert_eq!(answer(Word::Wchp, &view), "/a\n\t0x1b\n/b\n\t0x1b\n\t0x1a\n\n");
}

#[test]
fn hash_prints_signed_digests() {
    let metrics = Metrics::default();
    let mut view = view(&metrics);
    view.digests = vec![(Zxid::from_raw(0x1_0000_0080), 288_673_889_084), (Zxid::from_raw(0x100), u64::MAX)];
    assert_eq!(answer(Word::Hash, &view), "100000080: 288673889084\n100: -1\n");
}

#[test]
fn envi_has_the_keys_of_the_reference_in_its_order() {
    let metrics = Metrics::default();
    let mut view = view(&metrics);
    view.environment = Environment {
        host_name: "node1".into(),
        kernel: "6.18.0".into(),
        user: ["zk".into(), "/var/lib/zk".into(), "/".into()],
        memory: [5 << 20, 7 << 20, 3 << 20],
    };
    let text = answer(Word::Envi, &view);
    assert!(text.ends_with("os.memory.free=5MB\nos.memory.max=7MB\nos.memory.total=3MB\n"), "{text}");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("Environment:"));
    let keys: Vec<&str> = lines.map(|line| line.split_once('=').unwrap().0).collect();
    assert_eq!(
        keys.join(" "),
        "zookeeper.version host.name java.version java.vendor java.home java.class.path java.library.path \
         java.io.tmpdir java.compiler os.name os.arch os.version user.name user.home user.dir os.memory.free \
         os.memory.max os.memory.total"
    );
    // How kazoo finds the version: the number before the first dash.
    let version = text.lines().find_map(|line| line.strip_prefix("zookeeper.version=")).unwrap();
    assert_eq!(version.split('-').next(), Some("3.9.3"));
}

#[test]
fn mntr_has_every_key_of_a_standalone_reference_node_once() {
    let metrics = Metrics::default();
    let view = view(&metrics);
    let text = answer(Word::Mntr, &view);
    let lines: Vec<(&str, &str)> = text.lines().map(|line| line.split_once('\t').unwrap()).collect();
    let keys: BTreeSet<&str> = lines.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys.len(), lines.len(), "a key twice");
    // As a 3.8.0 server prints them; releases only ever add.
    let reference: BTreeSet<&str> = include_str!("testdata/mntr-3.8.0.keys").lines().collect();
    let missing: Vec<_> = reference.difference(&keys).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let added: Vec<_> = keys.difference(&reference).copied().collect();
    assert_eq!(
        added.join(" "),
        "zk_avg_restore_time zk_cnt_restore_time zk_max_restore_time zk_min_restore_time zk_restore_error_count \
         zk_restore_rate_limited_count zk_snapshot_bytes zk_snapshot_error_count zk_snapshot_log_bytes \
         zk_snapshot_making zk_snapshot_making_bytes zk_snapshot_making_bytes_done zk_snapshot_rate_limited_count \
         zk_snapshot_zxid zk_sum_restore_time"
    );
    assert_eq!(lines[0], ("zk_version", version().as_str()));
    assert_eq!(lines[1], ("zk_server_state", "standalone"));
}

#[test]
fn mntr_shows_what_was_measured() {
    let mut metrics = Metrics::default();
    for micros in [0, 1_000, 2_000, 2_000] {
        metrics.record(Observed::ReadLatency, micros);
    }
    metrics.record(Observed::FsyncTime, 400);
    metrics.add(Counter::BytesReceived, 28);
    let mut view = view(&metrics);
    view.descriptors = (61, 20_000);
    view.response_sizes = Some([20, 16, 900]);
    view.watches = 3;
    let text = answer(Word::Mntr, &view);
    for line in [
        "zk_avg_latency\t1.25",
        "zk_max_latency\t2",
        "zk_znode_count\t5",
        "zk_approximate_data_size\t44",
        "zk_open_file_descriptor_count\t61",
        "zk_max_file_descriptor_count\t20000",
        "zk_last_client_response_size\t20",
        "zk_min_client_response_size\t16",
        "zk_max_client_response_size\t900",
        "zk_connection_drop_probability\t0.0",
        "zk_watch_count\t3",
        "zk_bytes_received_count\t28",
        "zk_avg_readlatency\t1.25",
        "zk_min_readlatency\t0",
        "zk_max_readlatency\t2",
        "zk_cnt_readlatency\t4",
        "zk_sum_readlatency\t5",
        "zk_p50_readlatency\t1",
        "zk_p999_readlatency\t2",
        "zk_avg_fsynctime\t0.4",
        "zk_cnt_fsynctime\t1",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
    }
    assert!(!text.contains("p50_fsynctime"), "fsynctime has no quantiles in the reference");
}

#[test]
fn mntr_shows_snapshots_that_are_there_and_those_on_their_way() {
    let mut metrics = Metrics::default();
    metrics.record(Observed::SnapshotTime, 1_500_000);
    metrics.add(Counter::SnapshotErrors, 2);
    let mut view = view(&metrics);
    let none = answer(Word::Mntr, &view);
    for line in ["snapshot_zxid\t0x0", "snapshot_bytes\t0", "snapshot_making\t0", "cnt_snapshottime\t1"] {
        assert!(none.contains(&format!("zk_{line}\n")), "{line}\n{none}");
    }
    view.snapshots = SnapshotView {
        zxid: Zxid::from_raw(0x30000001f),
        bytes: 12_288,
        log_bytes: 4096,
        making: Some((7, 9)),
    };
    let transfers = TransferView { sending: vec![(Sid(2), 10, 70), (Sid(5), 0, 70)], receiving: Some(33) };
    view.ensemble = Some(EnsembleView { transfers, ..EnsembleView::default() });
    let text = answer(Word::Mntr, &view);
    for line in [
        "snapshot_zxid\t0x30000001f",
        "snapshot_bytes\t12288",
        "snapshot_log_bytes\t4096",
        "snapshot_making\t1",
        "snapshot_making_bytes\t9",
        "snapshot_making_bytes_done\t7",
        "snap_sending\t2",
        "snap_sending_2_bytes\t70",
        "snap_sending_2_bytes_done\t10",
        "snap_sending_5_bytes_done\t0",
        "snap_receiving\t1",
        "snap_receiving_bytes_done\t33",
        "sum_snapshottime\t1500",
        "snapshot_error_count\t2",
    ] {
        assert!(text.contains(&format!("zk_{line}\n")), "{line}\n{text}");
    }
}

#[test]
fn words_that_change_something_say_what() {
    assert_eq!(effect(Word::Crst, b""), Effect::ResetConnections);
    assert_eq!(effect(Word::Srst, b"\n"), Effect::ResetServer);
    assert_eq!(effect(Word::Stmk, &[0, 0, 0, 0, 0, 0, 1, 0x32, b'\n']), Effect::SetTraceMask(306));
    assert_eq!(effect(Word::Stmk, &[0; 7]), Effect::Incomplete);
    assert_eq!(effect(Word::Ruok, b"\r\n"), Effect::None);
    assert_eq!(Word::ALL.map(Word::argument_len).iter().sum::<usize>(), 8, "only stmk has an argument");
}
