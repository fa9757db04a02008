//! Restarts while somebody else holds the listening socket, as systemd does: no caller notices.

use std::collections::{BTreeMap, HashSet};
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::shop::{
    PATIENCE, Running, SECRET, Shop, parse_answer, post_signed, request, sign, unix_now, wait_for,
};

const RESTARTS: usize = 50;

/// Posting at the same time.
const CALLERS: usize = 8;

#[test]
fn fifty_restarts_under_load_with_the_socket_held_refuse_nobody() {
    let told = restarted("TERM");
    println!(
        "{} posts answered, {:?} at most from SIGTERM to the next answer",
        told.answered, told.longest
    );
    assert_eq!(told.otherwise, BTreeMap::new(), "beside {} posts answered", told.answered);
    assert_eq!(told.lost, 0);
}

/// Callers that the dying process was about to answer are cut off and try again; nobody is refused,
/// and nothing acknowledged is lost.
#[test]
fn fifty_kills_with_the_socket_held_refuse_nobody_and_lose_nothing_acknowledged() {
    let told = restarted("KILL");
    println!("{} posts answered, {:?} not", told.answered, told.otherwise);
    let cut = |(what, n): (&String, &usize)| {
        let cut = ["cut off", "reset", "Broken pipe"].iter().any(|how| what.contains(how));
        if cut { 0 } else { *n }
    };
    assert_eq!(told.otherwise.iter().map(cut).sum::<usize>(), 0, "{:?}", told.otherwise);
    assert_eq!(told.lost, 0);
}

struct Told {
    /// Posts answered 200.
    answered: usize,
    /// What else became of posts, and how often.
    otherwise: BTreeMap<String, usize>,
    /// Events answered 200 that are not in the file.
    lost: usize,
    /// From the signal until the next process answers, at most.
    longest: Duration,
}

/// Ends the desk again and again by this signal, and starts it on the same socket, while callers
/// post without a pause.
fn restarted(signal: &str) -> Told {
    let mut shop = Shop::open();
    shop.stop();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}", socket.local_addr().expect("it is bound"));
    let purchases = shop.buy("card", 400, "both");
    let bodies: Vec<(String, Vec<u8>)> = purchases
        .iter()
        .flat_map(|p| &p.events)
        .map(|(id, _)| (id.clone(), shop.body(id)))
        .collect();
    shop.desk = Some(on(&shop, &socket));

    let (next, answered, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let (acknowledged, otherwise) = (Mutex::new(HashSet::new()), Mutex::new(BTreeMap::new()));
    let mut longest = Duration::ZERO;
    let happened = std::thread::scope(|threads| {
        for caller in 0..CALLERS {
            let (url, bodies, next, answered, over) = (&url, &bodies, &next, &answered, &over);
            let (acknowledged, otherwise) = (&acknowledged, &otherwise);
            threads.spawn(move || {
                while !over.load(SeqCst) {
                    let n = next.fetch_add(1, SeqCst);
                    // Every purchase in its time, and in between what leads to nothing.
                    let (id, body) = match bodies.get(n / 10).filter(|_| n % 10 == 0) {
                        Some((id, body)) => (id.clone(), body.clone()),
                        None => (
                            format!("evt_{n}"),
                            format!("{{\"id\":\"evt_{n}\",\"type\":\"x\"}}").into_bytes(),
                        ),
                    };
                    let post = if caller % 4 == 0 { post_hesitating } else { post_signed };
                    match post(url, &body, SECRET) {
                        Ok((200, _)) => {
                            answered.fetch_add(1, SeqCst);
                            acknowledged.lock().expect("no panic").insert(id);
                        }
                        other => {
                            *otherwise
                                .lock()
                                .expect("no panic")
                                .entry(format!("{other:?}"))
                                .or_insert(0) += 1
                        }
                    }
                }
            });
        }
        let happened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..RESTARTS {
                let before = answered.load(SeqCst);
                wait_for("the load is on", || (answered.load(SeqCst) > before + 200).then_some(()));
                let began = Instant::now();
                let mut desk = shop.desk.take().expect("it is running");
                desk.signal(signal);
                let status =
                    wait_for("the desk ends", || desk.child.try_wait().expect("it is ours"));
                assert!(signal == "KILL" || status.success(), "serve ended with {status}");
                let before = answered.load(SeqCst);
                shop.desk = Some(on(&shop, &socket));
                wait_for("the next one answers", || (answered.load(SeqCst) > before).then_some(()));
                longest = longest.max(began.elapsed());
            }
        }));
        over.store(true, SeqCst);
        happened
    });
    if let Err(panic) = happened {
        std::panic::resume_unwind(panic);
    }
    let kept: HashSet<String> = shop.rows("SELECT id FROM events").into_iter().collect();
    let lost = acknowledged.into_inner().expect("no panic").difference(&kept).count();
    shop.settle();
    shop.check();
    let crashes = shop.one("SELECT count(*) FROM events WHERE crashes > 0");
    assert!(signal == "KILL" || crashes == "0", "nothing was broken off: {crashes}");
    let orders = shop.one("SELECT count(*) = count(DISTINCT checkout_session_id) FROM orders");
    assert_eq!(orders, "1");
    Told {
        answered: answered.into_inner(),
        otherwise: otherwise.into_inner().expect("no panic"),
        lost,
        longest,
    }
}

/// Connects, and speaks a little later, so that many a restart comes in between.
fn post_hesitating(url: &str, body: &[u8], secret: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    std::thread::sleep(Duration::from_millis(fastrand::u64(..400)));
    let signature = sign(body, secret, unix_now());
    let length = body.len();
    let head = format!(
        "POST /webhook HTTP/1.1\r\nConnection: close\r\nStripe-Signature: \
         {signature}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse_answer(&answer).ok_or_else(|| std::io::Error::other("the answer was cut off"))
}

/// As after a secret was lost: what systemd starts says so once, callers get an answer, and the
/// shop serves as soon as the secret is back.
#[test]
fn callers_of_a_shop_without_its_secret_are_answered_and_it_starts_when_that_is_fixed() {
    let mut shop = Shop::open();
    shop.stop();
    let secret = shop.dir.path().join("webhook_secret");
    std::fs::write(&secret, " \n").expect("a file can be written");
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("it is ours");
    for (name, value) in [
        ("WEBHOOK_SECRET_FILE", &secret),
        ("RUNTIME_DIRECTORY", &shop.dir.path().to_path_buf()),
        ("NOTIFY_SOCKET", &shop.dir.path().join("no-one-listens")),
    ] {
        shop.settings.push((name.into(), value.to_str().expect("a plain path").into()));
    }
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = socket.local_addr().expect("it has an address");
    let start = || {
        let mut command = handed_over(&shop);
        command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().expect("a second handle"))));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.env_remove("WEBHOOK_SECRET").spawn().expect("it starts")
    };
    let url = format!("http://{address}");
    for said in [true, false] {
        let held = start();
        let answer = wait_for("an answer", || request(&url, "GET", "/readyz", &[], b"").ok());
        assert!(answer.0 == 503 && answer.1.contains("WEBHOOK_SECRET"), "{answer:?}");
        let answer = post_signed(&url, b"{}", SECRET).expect("it answers");
        assert!(answer.0 == 503 && !answer.1.contains("WEBHOOK_SECRET"), "{answer:?}");
        std::fs::write(&secret, "\n").expect("a file can be written");
        let ended = held.wait_with_output().expect("it ends by itself");
        assert_eq!(ended.status.code(), Some(78));
        let log = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(log.contains("WEBHOOK_SECRET"), said, "{log}");
    }
    std::fs::write(&secret, SECRET).expect("a file can be written");
    let serving = on(&shop, &socket);
    assert!(!shop.dir.path().join("refused").exists(), "the next refusal is news");
    assert!(serving.stop().success());
}

#[test]
fn systemctl_status_shows_what_waits_and_a_start_puts_modes_right() {
    let mut shop = Shop::open();
    shop.buy("card", 1, "snapshot");
    shop.settle();
    shop.stop();
    std::fs::set_permissions(shop.dir.path(), Permissions::from_mode(0o2770)).expect("it is ours");
    std::fs::set_permissions(shop.file(), Permissions::from_mode(0o644)).expect("it is ours");
    let path = shop.dir.path().join("notify");
    let systemd = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket can be made");
    systemd.set_read_timeout(Some(PATIENCE)).expect("it can wait");
    shop.settings.push(("NOTIFY_SOCKET".into(), path.to_str().expect("a plain path").into()));
    shop.start();
    let mode = std::fs::metadata(shop.file()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut message = [0; 4096];
    let status = loop {
        let n = systemd.recv(&mut message).expect("a status comes");
        let text = String::from_utf8_lossy(&message[..n]).into_owned();
        if let Some((_, status)) = text.split_once("STATUS=") {
            break status.trim().to_string();
        }
    };
    assert!(status.starts_with("ready, ") && status.contains(" to ship, "), "{status}");
}

/// Serves this shop on a socket that stays ours, handed over as systemd hands it over.
fn on(shop: &Shop, socket: &TcpListener) -> Running {
    Running::start_with(
        &mut handed_over(shop),
        OwnedFd::from(socket.try_clone().expect("a second handle")).into(),
    )
}

/// `serve`, which finds on its standard input the socket that it takes for systemd's.
pub fn handed_over(shop: &Shop) -> Command {
    let handed = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve";
    let mut command = Command::new("sh");
    command.args(["-c", handed, env!("CARGO_BIN_EXE_fulfilld")]);
    command.envs(shop.serve().get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}
