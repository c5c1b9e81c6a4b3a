//! The generator against small servers that misbehave in one chosen way.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use super::*;
use crate::record::WINDOW_NS;
use crate::wire::{self, GET_DATA, SET_DATA, STAT_LEN, WireError, begin_frame, end_frame};

const SIZE: usize = 20;

/// What the fake server does with the `n`th get or set (from 0), counted over all connections.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Good,
    /// A good answer in pieces of this many bytes.
    Pieces(usize),
    After(Duration),
    Error(i32),
    WrongXid,
    WrongLength,
    Close,
    Never,
}

fn fake_server(answer: impl Fn(u64) -> Answer + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    let count = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, count) = (answer.clone(), count.clone());
            // A client that has gone away ends its thread; nobody asks for the result.
            thread::spawn(move || serve(&stream.unwrap(), &*answer, &count));
        }
    });
    addr
}

fn read_frame(mut stream: &TcpStream) -> std::io::Result<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

fn serve(mut stream: &TcpStream, answer: &dyn Fn(u64) -> Answer, count: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    read_frame(stream)?;
    let mut out = Vec::new();
    let at = begin_frame(&mut out);
    for word in [0, 30_000, 0, 1, 16, 0, 0, 0, 0] {
        out.extend_from_slice(&i32::to_be_bytes(word));
    }
    out.push(0);
    end_frame(&mut out, at);
    stream.write_all(&out)?;
    loop {
        let request = read_frame(stream)?;
        let xid = wire::i32_at(&request, 0).unwrap();
        let op = wire::i32_at(&request, 4).unwrap();
        let measured = op == GET_DATA || op == SET_DATA;
        let what = if measured { answer(count.fetch_add(1, SeqCst)) } else { Answer::Good };
        let (xid, err) = match what {
            Answer::After(delay) => {
                thread::sleep(delay);
                (xid, 0)
            }
            Answer::Error(code) => (xid, code),
            Answer::WrongXid => (xid + 1, 0),
            Answer::Close => return Ok(()),
            Answer::Never => continue,
            Answer::Good | Answer::Pieces(_) | Answer::WrongLength => (xid, 0),
        };
        out.clear();
        let at = begin_frame(&mut out);
        out.extend_from_slice(&xid.to_be_bytes());
        out.extend_from_slice(&7i64.to_be_bytes());
        out.extend_from_slice(&err.to_be_bytes());
        if op == GET_DATA {
            let size = if matches!(what, Answer::WrongLength) { SIZE - 1 } else { SIZE };
            out.extend_from_slice(&(size as i32).to_be_bytes());
            out.resize(out.len() + size, b'd');
        }
        out.resize(out.len() + STAT_LEN, 0);
        end_frame(&mut out, at);
        let piece = if let Answer::Pieces(n) = what { n } else { out.len() };
        for part in out.chunks(piece) {
            stream.write_all(part)?;
        }
    }
}

fn options(server: SocketAddr, mix: &str) -> LoadOptions {
    LoadOptions {
        servers: vec![server],
        connections: 2,
        window: 3,
        rate: None,
        workload: WorkloadOptions {
            mix: mix.parse().unwrap(),
            keys: 5,
            size: SIZE,
            naming: Naming::Numbered,
            seed: 1,
        },
        names: Names { root: "/rkbench".into(), run: 1 },
        warmup: Duration::ZERO,
        measure: Duration::from_millis(300),
        drain: Duration::from_secs(20),
        reconnect: false,
        session_timeout_ms: 30_000,
        keep: false,
        trace: false,
        watch_pids: Vec::new(),
    }
}

fn count_from(report: &LoadReport, ms: u64) -> u64 {
    report.recorded.all().count_between(ms * 1_000_000, u64::MAX)
}

#[test]
fn an_open_loop_measures_the_requests_that_a_stall_held_up() {
    // One answer takes 400 ms. A generator that waits for answers before it goes on would note one slow request;
    // the 600 requests that became due in the first 300 ms of the stall waited at least 100 ms too.
    let stall = |n| if n == 300 { Answer::After(Duration::from_millis(400)) } else { Answer::Good };
    for window in [1, 1000] {
        let mut options = options(fake_server(stall), "get");
        options.connections = 1;
        options.window = window;
        options.rate = Some(2000);
        options.measure = Duration::from_millis(800);
        let report = run(&options).unwrap();
        assert_eq!(report.recorded.all().len(), 1600, "every due request is measured, window {window}");
        assert_eq!(report.errors(), 0);
        assert!(count_from(&report, 100) >= 590, "{} with window {window}", count_from(&report, 100));
        let empty = report.recorded.windows.iter().filter(|w| w.ops == 0).count() as u64;
        assert!(
            empty * WINDOW_NS >= 200_000_000,
            "the stall shows in the series: {:?}",
            report.recorded.windows
        );
    }
}

#[test]
fn a_closed_loop_keeps_its_window_full_and_no_more() {
    // The server answers nothing at all: what is in flight is exactly connections x window.
    let mut options = options(fake_server(|_| Answer::Never), "set");
    options.drain = Duration::from_millis(100);
    let report = run(&options).unwrap();
    assert_eq!(report.unanswered, 6);
    assert_eq!(report.recorded.total_ops(), 0);
    assert_eq!(count_from(&report, 300), 6, "their ages are at least the measured interval");
}

#[test]
fn replies_in_small_pieces_are_put_together() {
    for piece in [1, 3, 7, 50] {
        let options = options(fake_server(move |_| Answer::Pieces(piece)), "get=1,set=1");
        let report = run(&options).unwrap();
        assert_eq!(report.errors(), 0);
        assert!(report.recorded.total_ops() > 0);
        assert!(report.recorded.ops[Op::Get.index()] > 0 && report.recorded.ops[Op::Set.index()] > 0);
    }
}

#[test]
fn error_codes_are_counted_and_not_measured() {
    let third = |n| if n % 3 == 0 { Answer::Error(-101) } else { Answer::Good };
    let report = run(&options(fake_server(third), "set")).unwrap();
    let errors = report.error_codes[&-101];
    assert!(errors > 0);
    assert_eq!(report.errors(), errors);
    let measured = report.recorded.all().len();
    assert!(
        measured <= errors * 2 && measured + 4 >= errors.saturating_sub(1) * 2,
        "{measured} and {errors}"
    );
}

#[test]
fn a_lost_connection_ends_the_run() {
    let close = |n| if n == 10 { Answer::Close } else { Answer::Good };
    let error = run(&options(fake_server(close), "get")).unwrap_err();
    let BenchError::Lost { outstanding, .. } = &error else { panic!("{error}") };
    assert!((1..=3).contains(outstanding));
    assert!(error.to_string().contains("--reconnect"), "{error}");
}

#[test]
fn a_lost_connection_is_replaced_on_request_and_its_requests_are_errors() {
    let close = |n| if n == 10 || n == 50 { Answer::Close } else { Answer::Good };
    let mut options = options(fake_server(close), "get");
    options.reconnect = true;
    options.rate = Some(1000);
    let report = run(&options).unwrap();
    assert!(report.reconnects >= 2);
    assert!(report.lost >= 2);
    assert_eq!(report.recorded.all().len() + report.lost, 300, "every due request is accounted for");
}

#[test]
fn replies_that_answer_another_question_are_refused() {
    let wrong =
        |what: Answer| run(&options(fake_server(move |n| if n == 9 { what } else { Answer::Good }), "get"));
    let xid = wrong(Answer::WrongXid).unwrap_err();
    assert!(matches!(xid, BenchError::Wire { source: WireError::XidOutOfOrder { .. }, .. }), "{xid}");
    let length = wrong(Answer::WrongLength).unwrap_err();
    assert!(matches!(length, BenchError::Wire { source: WireError::DataLength { .. }, .. }), "{length}");
}

#[test]
fn idle_sessions_send_nothing_and_end_cleanly() {
    let report = run(&options(fake_server(|_| Answer::Close), "idle")).unwrap();
    assert_eq!((report.recorded.total_ops(), report.errors()), (0, 0));
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = run(&options(gone, "get")).unwrap_err().to_string();
    assert!(error.contains(&gone.to_string()) && error.contains("refused"), "{error}");
}
