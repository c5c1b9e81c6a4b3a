//! Unmodified clients: kazoo, Apache's `zkCli.sh`, and `cli_mt` of the C client.

use std::process::Command;

use ringkeeper_tests::client::Failure;
use ringkeeper_tests::dialogue::Dialogue;
use ringkeeper_tests::node::{Node, Server};
use ringkeeper_tests::tool::{CLI_MT, ZKCLI};
use ringkeeper_tests::wire::code;
use ringkeeper_tests::{on_both, place};

fn kazoo_finds_what_it_expects(server: Server) {
    let node = Node::start(server, &[]);
    let script = place::workspace().join("tests/py/client_test.py");
    let output = Command::new("python3")
        // A check leaves no compiled files in the checkout.
        .args(["-B"])
        .arg(script)
        .arg(node.addr().to_string())
        .output()
        .expect("running python3");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(
        output.status.success(),
        "{}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn zkcli_creates_reads_changes_watches_and_deletes(server: Server) {
    let node = Node::start(server, &[]);
    let mut command = Command::new("bash");
    command.args([ZKCLI, "-server", &node.addr().to_string()]);
    let mut cli = Dialogue::start(command);
    cli.expect("SyncConnected");
    cli.ask("create /cli one", &["Created /cli"]);
    cli.ask("create /cli two", &["Node already exists: /cli"]);
    cli.ask("get /cli", &["one"]);
    cli.ask("set -v 3 /cli two", &["version No is not valid"]);
    cli.ask("set -s /cli two", &["dataVersion = 1"]);
    cli.ask("get -s /cli", &["two", "dataVersion = 1", "ephemeralOwner = 0x0", "dataLength = 3"]);
    cli.ask("ls /", &["[cli, zookeeper]"]);
    cli.ask("create -s -e /cli/s- x", &["Created /cli/s-0000000000"]);
    cli.ask("ls -w /cli", &["[s-0000000000]"]);
    cli.ask("create /cli/kid", &["NodeChildrenChanged path:/cli"]);
    cli.ask("get -w /cli", &["two"]);
    cli.ask("set /cli three", &["NodeDataChanged path:/cli"]);
    cli.ask("stat /cli", &["cversion = 2", "dataVersion = 2", "numChildren = 2"]);
    cli.ask("setAcl /cli world:anyone:cdrwa", &[]);
    cli.ask("getAcl /cli", &["'world,'anyone", ": cdrwa"]);
    cli.ask("addauth digest lena:secret", &[]);
    cli.ask("create /secret x auth:lena:cdrwa", &["Created /secret"]);
    cli.ask("getAcl /secret", &["'digest,'lena:", ": cdrwa"]);
    cli.ask("sync /cli", &["Sync is OK"]);
    cli.ask("delete /cli", &["Node not empty: /cli"]);
    cli.ask("deleteall /cli", &[]);
    cli.ask("get /cli", &["Node does not exist: /cli"]);
    // Its exit code is that of its last command.
    cli.ask("ls /", &["[secret, zookeeper]"]);
    cli.quit("quit");
    let mut client = node.client();
    assert_eq!(client.exists("/cli").expect("exists"), None);
    assert_eq!(client.children("/").expect("children"), ["secret", "zookeeper"]);
    assert!(matches!(client.get("/secret"), Err(Failure::Code(code::NO_AUTH))), "its ACL holds");
}

fn cli_mt_creates_reads_changes_watches_and_deletes(server: Server) {
    let node = Node::start(server, &[]);
    // Without a terminal it would keep its answers in a buffer until it ends.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", CLI_MT]).arg(node.addr().to_string());
    let mut cli = Dialogue::start(command);
    cli.expect("Got a new session id: 0x");
    cli.ask("create /c", &["[/c]: rc = 0", "name = /c"]);
    cli.ask("create /c", &["[/c]: rc = -110"]);
    cli.ask("set /c some text", &["ctime"]);
    cli.ask("get /c", &["/c: rc = 0", "value_len = 9", "some text", "version=1"]);
    cli.ask("create +e /c/fleeting", &["[/c/fleeting]: rc = 0"]);
    cli.ask("create +s /c/s-", &["[/c/s-]: rc = 0", "name = /c/s-0000000001"]);
    cli.ask("ls /c", &["/c: rc = 0", "s-0000000001"]);
    cli.ask("ls2 /c", &["/c: rc = 0", "fleeting"]);
    cli.ask("wexists /later", &["Error -101 for /later"]);
    cli.ask("create /later", &["CREATED_EVENT state = CONNECTED_STATE for path /later"]);
    cli.ask("sync /c", &["[/c]: rc = 0"]);
    cli.ask("delete /c", &["/c: rc = -111"]);
    cli.ask("delete /c/s-0000000001", &["/c/s-0000000001: rc = 0"]);
    cli.ask("delete /c/fleeting", &["/c/fleeting: rc = 0"]);
    cli.ask("delete /c", &["/c: rc = 0"]);
    cli.ask("exists /c", &["Error -101 for /c"]);
    cli.quit("quit");
    let mut client = node.client();
    assert_eq!(client.exists("/c").expect("exists"), None);
    assert!(client.exists("/later").expect("exists").is_some());
}

/// The text between the first line "```{language}" of the README and the next "```".
fn readme_block(language: &str) -> String {
    let readme = std::fs::read_to_string(place::workspace().join("README.md")).expect("reading README.md");
    let block = readme.split(&format!("```{language}\n")).nth(1).and_then(|rest| rest.split("```").next());
    block.unwrap_or_else(|| panic!("README.md has no block of {language}")).to_string()
}

fn readme_quick_start_with_kazoo_works_as_written(server: Server) {
    let script = readme_block("python");
    assert!(script.contains("127.0.0.1:2181"), "the README shows the default address");
    let node = Node::start(server, &[]);
    let script = script.replace("127.0.0.1:2181", &node.addr().to_string());
    let output = Command::new("python3").args(["-B", "-c", &script]).output().expect("running python3");
    let text =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("changed:"), "{text}");
}

fn readme_quick_start_with_zkcli_works_as_written(server: Server) {
    let node = Node::start(server, &[]);
    let mut command = Command::new("bash");
    command.args([ZKCLI, "-server", &node.addr().to_string()]);
    let mut cli = Dialogue::start(command);
    cli.expect("SyncConnected");
    let block = readme_block("text");
    let (last, commands) =
        block.lines().collect::<Vec<_>>().split_last().map(|(l, c)| (*l, c.to_vec())).expect("lines");
    for line in commands {
        cli.ask(line, &[answer_of(line)]);
    }
    cli.quit(last);
}

/// What zkCli.sh prints when a command of the README succeeds.
fn answer_of(line: &str) -> &'static str {
    match line.split(' ').next() {
        Some("create") => "Created /",
        Some("get") => "hello",
        Some("set") => "NodeDataChanged",
        Some("ls") => "zookeeper",
        _ => panic!("the README has a new command: {line}"),
    }
}

on_both! {
    readme_quick_start_with_zkcli_works_as_written [ZkCli];
    readme_quick_start_with_kazoo_works_as_written [Kazoo];
    kazoo_finds_what_it_expects [Kazoo];
    zkcli_creates_reads_changes_watches_and_deletes [ZkCli];
    cli_mt_creates_reads_changes_watches_and_deletes [CliMt];
}
