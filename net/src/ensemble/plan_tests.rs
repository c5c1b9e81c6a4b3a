//! Directories and ports: made once, taken as they are ever after.

use super::*;

fn options(dir: &Path) -> Options {
    Options { dir: dir.to_owned(), voters: None, observers: None, base_port: None }
}

#[test]
fn a_new_ensemble_has_files_that_members_can_be_started_with() {
    let dir = tempfile::tempdir().unwrap();
    // A name that a properties file cannot hold as it is.
    let home = dir.path().join("caf\u{e9} \\ \u{1f600}=#!");
    let asked = Options { voters: Some(2), observers: Some(1), base_port: Some(20_001), ..options(&home) };
    let plan = Plan::open(&asked).unwrap();
    assert_eq!(
        plan.nodes.iter().map(|node| node.client.port()).collect::<Vec<_>>(),
        [20_001, 20_002, 20_003]
    );
    for (node, number) in plan.nodes.iter().zip(1..) {
        let config = config::load(Some(&home.join(number.to_string()).join("zoo.cfg"))).unwrap().config;
        assert_eq!(config.data_dir, home.join(number.to_string()).join("data"));
        assert_eq!(config.listen.to_string(), node.client.to_string());
        let ensemble = config.ensemble.unwrap();
        assert_eq!(ensemble.me, Sid(number));
        assert_eq!(
            ensemble.config_text,
            "server.1=127.0.0.1:20004:20007:participant;127.0.0.1:20001\n\
             server.2=127.0.0.1:20005:20008:participant;127.0.0.1:20002\n\
             server.3=127.0.0.1:20006:20009:observer;127.0.0.1:20003\nversion=0"
        );
    }
}

#[test]
fn a_second_start_takes_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let made = Plan::open(&options(dir.path())).unwrap();
    assert_eq!(made.nodes.len(), 3);
    assert_eq!(Plan::open(&options(dir.path())).unwrap(), made);
    let same = Options { voters: Some(3), observers: Some(0), base_port: Some(1), ..options(dir.path()) };
    assert_eq!(Plan::open(&same).unwrap(), made);
    for (voters, observers) in [(Some(5), None), (None, Some(1))] {
        let error = Plan::open(&Options { voters, observers, ..options(dir.path()) }).unwrap_err();
        let shown = dir.path().display();
        assert_eq!(
            error.to_string(),
            format!(
                "{shown} holds an ensemble of 3 voters and 0 observers; give these numbers, or none, or another directory"
            )
        );
    }
}

#[test]
fn one_voter_is_an_ensemble_too() {
    let dir = tempfile::tempdir().unwrap();
    let asked = Options { voters: Some(1), ..options(dir.path()) };
    let made = Plan::open(&asked).unwrap();
    assert_eq!(Plan::open(&asked).unwrap(), made);
    assert_eq!(made.nodes.len(), 1);
}

#[test]
fn edited_files_count_as_long_as_they_agree() {
    let dir = tempfile::tempdir().unwrap();
    let made = Plan::open(&options(dir.path())).unwrap();
    let path = made.nodes[1].config();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}tickTime=500\n")).unwrap();
    assert_eq!(Plan::open(&options(dir.path())).unwrap(), made);

    let refused = |text: String| {
        fs::write(&path, text).unwrap();
        Plan::open(&options(dir.path())).unwrap_err().to_string()
    };
    let begin = path.display();
    assert_eq!(
        refused(format!("{text}server.9=127.0.0.1:1:2\n")),
        format!("{begin}: its server lines are not those of server.1; give another directory")
    );
    assert_eq!(
        refused("dataDir=/nowhere\nclientPort=1\n".into()),
        format!("{begin}: it is not of a member of an ensemble; give another directory")
    );
    assert_eq!(
        refused("tickTime=0\n".into()),
        format!("{begin}: dataDir is missing: it is the directory that the node keeps its data in")
    );
    let data = path.with_file_name("data").join("myid");
    fs::write(data, "3").unwrap();
    assert_eq!(refused(text), format!("{begin}: it is of server.3; give another directory"));
}

#[test]
fn nothing_that_exists_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("2")).unwrap();
    Plan::open(&options(dir.path())).unwrap();

    let other = tempfile::tempdir().unwrap();
    let kept = other.path().join("3").join("zoo.cfg");
    fs::create_dir(other.path().join("3")).unwrap();
    fs::write(&kept, "mine").unwrap();
    let error = Plan::open(&options(other.path())).unwrap_err();
    assert!(matches!(&error, EnsembleError::Occupied { path, .. } if path.ends_with("3")), "{error}");
    assert_eq!(fs::read_to_string(kept).unwrap(), "mine");
    assert!(!other.path().join("1").exists(), "looked at before anything is made");
}
