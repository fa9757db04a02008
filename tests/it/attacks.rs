//! What strangers can do to the listening port: the next webhook is still acknowledged, and
//! nothing else is.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::outside::free_address;
use crate::proof;
use crate::shop::{SECRET, clock, fulfilld, parse_answer, rows, sign, unix_now, wait_for};

/// Checkout keeps the buyer waiting for so long.
const BUYER_WAITS: Duration = Duration::from_secs(10);

/// A desk that is started again whenever it ends, as systemd does.
struct Post {
    dir: tempfile::TempDir,
    address: SocketAddr,
    starts: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    desk: Arc<Mutex<Option<u32>>>,
    supervisor: Option<JoinHandle<Vec<String>>>,
    acknowledged: Vec<String>,
    /// Why tries were not acknowledged.
    lost: Vec<String>,
}

/// Who holds the listening socket while the desk is being replaced.
#[derive(Clone, Copy, PartialEq)]
enum Socket {
    /// A socket unit.
    Held,
    /// Nobody: it is the desk's own.
    Own,
}

impl Post {
    fn open() -> Post {
        Post::open_with(Socket::Own, "", &[])
    }

    /// `limits` is said in a shell before the desk starts.
    fn open_with(socket: Socket, limits: &'static str, settings: &'static [(&str, &str)]) -> Post {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let address = free_address();
        let held = (socket == Socket::Held)
            .then(|| TcpListener::bind(address).expect("nobody else can get it"));
        let starts = Arc::new(AtomicUsize::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let desk = Arc::new(Mutex::new(None));
        let supervisor = {
            let (dir, starts, over, desk) =
                (dir.path().to_path_buf(), starts.clone(), over.clone(), desk.clone());
            std::thread::spawn(move || {
                let mut ends = Vec::new();
                while !over.load(SeqCst) {
                    let mut command = serve(&dir, address, limits, held.as_ref());
                    let mut child =
                        command.envs(settings.iter().copied()).spawn().expect("the program starts");
                    *desk.lock().expect("no holder panics") = Some(child.id());
                    starts.fetch_add(1, SeqCst);
                    let status = child.wait().expect("it is ours");
                    *desk.lock().expect("no holder panics") = None;
                    ends.push(status.to_string());
                    std::thread::sleep(Duration::from_millis(100));
                }
                ends
            })
        };
        let mut post = Post {
            dir,
            address,
            starts,
            over,
            desk,
            supervisor: Some(supervisor),
            acknowledged: vec![],
            lost: vec![],
        };
        wait_for("the first webhook is acknowledged", || post.deliver(Duration::from_secs(5)).ok());
        post
    }

    /// Says something and does not wait for an answer; what cannot be said any more is no failure.
    fn say(&self, bytes: impl AsRef<[u8]>) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(BUYER_WAITS * 2)).ok()?;
        stream.set_write_timeout(Some(Duration::from_secs(2))).ok()?;
        let _ = stream.write_all(bytes.as_ref());
        Some(stream)
    }

    /// The same, and all that comes back until the connection ends; never a 2xx.
    fn refused(&self, bytes: impl AsRef<[u8]>) -> String {
        let heard = self.say(bytes).map(hear).unwrap_or_default();
        assert!(!heard.contains("HTTP/1.1 2"), "a false acknowledgement: {heard}");
        heard
    }

    /// Posts a new event; an error says why it was not acknowledged.
    fn deliver(&mut self, within: Duration) -> Result<(), String> {
        let id = new_id();
        match post(self.address, &id, within)? {
            (200, _) => {
                self.acknowledged.push(id);
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    }

    /// What every attack must leave behind: an event is acknowledged while the buyer waits, however
    /// often it is sent, and what was ever acknowledged is in the file. Returns after how many
    /// tries.
    fn stands(&mut self) -> usize {
        let began = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let left = BUYER_WAITS.saturating_sub(began.elapsed());
            match self.deliver(left.max(Duration::from_millis(1))) {
                Ok(()) => break,
                Err(why) => {
                    assert!(
                        !left.is_zero(),
                        "no webhook was acknowledged within {BUYER_WAITS:?}: {why}; it said: {}",
                        self.log()
                    );
                    self.lost.push(why);
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let kept = rows(&self.dir.path().join("shop.db"), "SELECT id FROM events");
        for id in &self.acknowledged {
            assert!(kept.contains(id), "{id} was acknowledged and is not in the file");
        }
        tries
    }

    /// What the desk had to say.
    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).expect("it writes one")
    }

    /// The most memory that the present process has used.
    fn peak_memory_kb(&self) -> u64 {
        let pid = self.desk.lock().expect("no holder panics").expect("the desk is running");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it is running");
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("Linux tells");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    fn starts(&self) -> usize {
        self.starts.load(SeqCst)
    }

    fn signal(&self, name: &str) {
        if let Some(pid) = *self.desk.lock().expect("no holder panics") {
            let _ = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
        }
    }

    /// Ends it; how each of its processes ended, this last one by our signal.
    fn close(mut self) -> Vec<String> {
        self.end()
    }

    fn end(&mut self) -> Vec<String> {
        self.over.store(true, SeqCst);
        let Some(supervisor) = self.supervisor.take() else { return vec![] };
        let mut told = None;
        while !supervisor.is_finished() {
            // Each process once: a second signal would end it at once.
            let pid = *self.desk.lock().expect("no holder panics");
            if pid.is_some() && pid != told {
                told = pid;
                self.signal("TERM");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        supervisor.join().unwrap_or_default()
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.end();
    }
}

/// `fulfilld serve` as a shell starts it.
fn serve(dir: &Path, address: SocketAddr, limits: &str, held: Option<&TcpListener>) -> Command {
    let mut command = fulfilld();
    let program = command.get_program().to_owned();
    command = Command::new("sh");
    let log = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(dir.join("log"))
        .expect("a log can be written");
    match held {
        // As systemd hands over a socket: descriptor 3, and the process it is for.
        Some(listener) => {
            let socket = listener.as_fd().try_clone_to_owned().expect("a descriptor is free");
            let exec = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve";
            command
                .arg("-c")
                .arg(format!("{limits}\n{exec}"))
                .arg(program)
                .stdin(Stdio::from(socket))
        }
        None => command
            .arg("-c")
            .arg(format!("{limits}\nexec \"$0\" serve"))
            .arg(program)
            .stdin(Stdio::null()),
    };
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(clock())
        .env("FULFILLD_DB", dir.join("shop.db"))
        .env("FULFILLD_LISTEN", address.to_string())
        // Nobody answers there, and no event in these tests needs a request.
        .env("FULFILLD_STRIPE_API", "http://127.0.0.1:9")
        .env("FULFILLD_LOG", "info")
        .env("STRIPE_SECRET_KEY", "rk_test_of_the_shop")
        .env("WEBHOOK_SECRET", SECRET)
        .stdout(Stdio::null())
        .stderr(log);
    command
}

fn new_id() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    format!("evt_{}", NEXT.fetch_add(1, SeqCst))
}

/// A signed event of Stripe's usual size, as a client sends it that would keep the connection.
fn webhook(id: &str) -> Vec<u8> {
    let body =
        json!({"id": id, "object": "event", "type": "customer.created", "created": unix_now(), "livemode": false,
        "data": {"object": {"id": "cus_1", "object": "customer", "description": "x".repeat(4000)}}})
        .to_string();
    let signature = sign(body.as_bytes(), SECRET, unix_now());
    let head = format!(
        "POST /webhook HTTP/1.1\r\nHost: localhost\r\nStripe-Signature: {signature}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

/// Posts an event and waits for its answer.
fn post(address: SocketAddr, id: &str, within: Duration) -> Result<(u16, String), String> {
    let failed = |e: std::io::Error| e.to_string();
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(within)).map_err(failed)?;
    stream.write_all(&webhook(id)).map_err(failed)?;
    answer(&mut stream).map_err(failed)
}

/// One answer, whatever becomes of the connection.
fn answer(stream: &mut TcpStream) -> std::io::Result<(u16, String)> {
    let mut heard = Vec::new();
    let mut some = [0; 4096];
    loop {
        if let Some(answer) = parse_answer(&heard) {
            return Ok(answer);
        }
        match stream.read(&mut some) {
            Ok(0) => return Err(std::io::Error::other("the connection ended without an answer")),
            Ok(n) => heard.extend_from_slice(&some[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// All that comes until the connection ends.
fn hear(mut stream: TcpStream) -> String {
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    String::from_utf8_lossy(&heard).into_owned()
}

/// Tells the threads of a test that it is over, also when it fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// For the tests that open thousands of connections.
fn many_descriptors() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)
        .expect("up to the hard limit");
}

#[test]
fn a_content_length_that_lies_is_refused() {
    let mut post = Post::open();
    let lengths = [
        "1048577",
        "2000000000",
        "40000000000",
        "100000000000000",
        "9223372036854775807",
        "18446744073709551615",
    ];
    for length in lengths {
        let head = format!("POST /webhook HTTP/1.1\r\nContent-Length: {length}\r\n");
        assert!(post.refused(format!("{head}\r\n{{}}")).starts_with("HTTP/1.1 413 "), "{length}");
        assert!(
            post.refused(format!("{head}Expect: 100-continue\r\n\r\n"))
                .starts_with("HTTP/1.1 413 "),
            "{length}"
        );
        let half = post.say(format!("{head}\r\n{{}}")).expect("the port is open");
        half.shutdown(Shutdown::Write).expect("it is connected");
        assert!(hear(half).starts_with("HTTP/1.1 413 "), "{length}");
        drop(post.say(format!("{head}\r\n{{}}")));
        assert_eq!(post.stands(), 1, "{length}");
    }
    let too_large = format!(
        "POST /webhook HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n{}",
        "x".repeat(2_000_000)
    );
    assert!(post.refused(too_large).starts_with("HTTP/1.1 413 "));
    assert_eq!((post.stands(), post.starts()), (1, 1));
}

#[test]
fn lies_past_the_budget_cost_a_restart_and_no_event() {
    let mut post = Post::open();
    for _ in 0..3 {
        let lies: Vec<_> = (0..60)
            .map(|_| post.say("POST / HTTP/1.1\r\nContent-Length: 100000000000000\r\n\r\n"))
            .collect();
        post.stands();
        drop(lies);
    }
    wait_for("the process was replaced", || (post.starts() > 1).then_some(()));
    post.stands();
    let ends = post.close();
    assert_eq!(ends[0], "exit status: 75", "{ends:?}");
}

#[test]
fn requests_of_http_2_leak_threads_until_the_process_is_replaced() {
    many_descriptors();
    let mut post = Post::open_with(Socket::Held, "", &[]);
    let leaks: Vec<_> = (0..600).map(|_| post.say("GET / HTTP/2.0\r\n\r\n")).collect();
    post.stands();
    drop(leaks);
    wait_for("the process was replaced", || (post.starts() > 1).then_some(()));
    post.stands();
    let ends = post.close();
    assert_eq!(ends[0], "exit status: 75", "{ends:?}");
}

#[test]
fn where_no_client_can_be_cut_the_process_is_replaced_sooner() {
    many_descriptors();
    let mut post = Post::open_with(Socket::Held, "", &[("FULFILLD_SABOTAGE", "no_pidfd_getfd")]);
    wait_for("the log says so", || post.log().contains("pidfd_getfd").then_some(()));
    let head = "POST /webhook HTTP/1.1\r\nContent-Length:";
    assert!(
        post.refused(format!("{head} 2000000\r\n\r\n{}", "x".repeat(2_000_000)))
            .starts_with("HTTP/1.1 413 ")
    );
    let mut saying = Vec::new();
    for n in 0..20 {
        saying.push(post.say(format!("{head} 100000000000000\r\n\r\n")));
        saying.push(post.say(format!("{head} {n}\r\nContent-Length: 5\r\n\r\n")));
        saying.push(post.say(format!("{head} 5000\r\n\r\n{{")));
    }
    post.stands();
    drop(saying);
    post.stands();
    assert_eq!(post.starts(), 1);
    let leaks: Vec<_> = (0..1600).map(|_| post.say("GET / HTTP/2.0\r\n\r\n")).collect();
    wait_for("the process was replaced", || (post.starts() > 1).then_some(()));
    post.stands();
    drop(leaks);
}

#[test]
fn descriptors_that_are_used_up_cost_a_restart_and_no_event() {
    // An odd and an even number: either accept(2) fails or the copy of what it returned.
    for limits in ["ulimit -n 160", "ulimit -n 161"] {
        let mut post = Post::open_with(Socket::Held, limits, &[]);
        let idle: Vec<_> = (0..200).map(|_| post.say("")).collect();
        wait_for("the descriptors are used up", || (post.starts() > 1).then_some(()));
        post.stands();
        drop(idle);
        let mut post = Post::open_with(Socket::Own, limits, &[]);
        let idle: Vec<_> = (0..200).map(|_| post.say("")).collect();
        post.stands();
        drop(idle);
    }
}

#[test]
fn two_thousand_idle_connections_keep_nobody_out() {
    many_descriptors();
    let mut post = Post::open();
    let idle: Vec<_> = (0..2000).map(|_| post.say("").expect("the port is open")).collect();
    post.stands();
    for mut stream in idle {
        let ended = stream.read(&mut [0]);
        assert!(
            matches!(ended, Ok(0)) || ended.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset),
            "it was ended"
        );
    }
    assert_eq!((post.stands(), post.starts()), (1, 1));
}

#[test]
fn slow_heads_and_slow_bodies_keep_nobody_out() {
    come_slowly(&mut Post::open());
}

/// The control: the same attack catches a desk that cuts no slow client.
#[test]
fn control_attacks_catch_a_desk_that_cuts_no_slow_client() {
    let planted = &[("FULFILLD_SABOTAGE", "nobody_is_cut")];
    let mut post = Post::open_with(Socket::Own, "", planted);
    let outcome = catch_unwind(AssertUnwindSafe(|| come_slowly(&mut post)));
    let panic = outcome.expect_err("a desk that cuts nobody let every honest sender in");
    let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    proof::caught("nobody_is_cut", said.lines().next().unwrap_or_default());
}

fn come_slowly(post: &mut Post) {
    let over = AtomicBool::new(false);
    let slow =
        |opening: &str| -> Vec<TcpStream> { (0..150).filter_map(|_| post.say(opening)).collect() };
    let mut all = slow("POST /webhook HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    all.extend(slow("POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{"));
    all.extend(slow("POST /webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3"));
    std::thread::scope(|scope| {
        let ending = Ending(&over);
        scope.spawn(|| {
            while !over.load(SeqCst) {
                all.iter_mut().for_each(|stream| drop(stream.write_all(b"0")));
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        let tries: usize = (0..10).map(|_| post.stands()).sum();
        drop(ending);
        // A try that is lost on a busy machine is sent again and keeps nobody out; a desk that cuts
        // nobody loses all of them.
        assert!(tries <= 15, "{tries} tries for 10 webhooks: {:?}", post.lost);
    });
    assert_eq!(post.starts(), 1);
}

#[test]
fn a_head_of_200_megabytes_is_cut() {
    let mut post = Post::open();
    let mut stream = post.say("GET / HTTP/1.1\r\nX: ").expect("the port is open");
    let some = vec![b'x'; 1 << 20];
    let sent = (0..200).take_while(|_| stream.write_all(&some).is_ok()).count();
    assert!(sent < 200, "all of it was taken");
    let peak = post.peak_memory_kb();
    assert!(peak < 256 << 10, "{peak} kB, and the unit's MemoryMax is 256 MB");
    assert_eq!((post.stands(), post.starts()), (1, 1));
}

#[test]
fn endless_requests_that_read_no_answer_keep_nobody_out() {
    let mut post = Post::open();
    let flood = |line: &str| -> TcpStream {
        let mut stream = post.say("").expect("the port is open");
        let some = line.repeat(100).into_bytes();
        (0..3000).take_while(|_| stream.write_all(&some).is_ok()).count();
        stream
    };
    let floods = [
        flood("GET /metrics HTTP/1.1\r\n\r\n"),
        flood("POST /webhook HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"),
        flood(&format!(
            "POST /webhook HTTP/1.1\r\nContent-Length: 2000\r\n\r\n{}",
            "x".repeat(2000)
        )),
    ];
    assert_eq!(post.stands(), 1);
    drop(floods);
    assert_eq!((post.stands(), post.starts()), (1, 1));
}

#[test]
fn two_webhooks_sent_at_once_are_never_answered_for_each_other() {
    let mut post = Post::open();
    let pairs: Vec<_> = (0..50).map(|_| [new_id(), new_id()]).collect();
    let said: Vec<_> =
        pairs.iter().map(|ids| post.say(ids.each_ref().map(|id| webhook(id)).concat())).collect();
    for (ids, stream) in pairs.into_iter().zip(said) {
        let heard = stream.map(hear).unwrap_or_default();
        // Two answers are for both, in their order; one is for the first.
        post.acknowledged.extend(ids.into_iter().take(heard.matches("HTTP/1.1 200").count()));
    }
    assert_eq!(post.stands(), 1);
}

#[test]
fn a_request_that_does_not_say_where_it_ends_smuggles_nothing_in() {
    let mut post = Post::open();
    let hidden = "GET /metrics HTTP/1.1\r\n\r\n";
    let hidden_webhook = String::from_utf8(webhook(&new_id())).expect("it is text");
    for head in [
        "Content-Length: 30\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 30",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Content-Length: 0\r\nContent-Length: 30",
        "Content-Length: 30\r\nContent-Length: 30",
        "Content-Length: 30, 30",
        "Content-Length: -1",
        "Content-Length: +30",
        "Content-Length: ",
        "Connection: Upgrade\r\nUpgrade: websocket",
        "X: y\nContent-Length: 30",
        "X: y\rContent-Length: 30",
        "X: y\0",
    ] {
        // Behind no body and behind an empty chunked one.
        for hidden in [
            hidden,
            &hidden_webhook,
            &format!("0\r\n\r\n{hidden}"),
            &format!("0\r\n\r\n{hidden_webhook}"),
        ] {
            let heard = post.refused(format!("POST /webhook HTTP/1.1\r\n{head}\r\n\r\n{hidden}"));
            assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 400 "), "{head:?}: {heard}");
        }
    }
    for chunks in [
        "x\r\n",
        "5\r\nabc\r\n0\r\n\r\n",
        "-1\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "0\r\nTrailer: y\r\n\r\n",
    ] {
        let head = "POST /webhook HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let heard = post.refused(format!("{head}{chunks}{hidden}"));
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 400 "), "{chunks:?}: {heard}");
    }
    assert_eq!((post.stands(), post.starts()), (1, 1));
}

#[test]
fn what_is_not_http_is_turned_away() {
    let mut post = Post::open();
    let mut saying = Vec::new();
    let garbage: Vec<u8> = (0..4000_u32).map(|n| (n * n % 251) as u8).collect();
    for bytes in [
        b"".as_slice(),
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nX: \xc3\xa9\r\nContent-Length: 0\r\n\r\n",
        b"POST /webhook HTTP/1.1\nContent-Length: 0\n\n",
        b"POST /webhook\r\n\r\n",
        b"POST /webhook HTTP/0.9\r\n\r\n",
        b"POST /webhook HTTP/3.0\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nExpect: miracles\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nno colon\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &garbage,
    ] {
        saying.push(post.say(bytes).expect("the port is open"));
    }
    assert_eq!(post.stands(), 1);
    for heard in saying.into_iter().map(hear) {
        assert!(!heard.contains("HTTP/1.1 2"), "a false acknowledgement: {heard}");
    }
    assert_eq!((post.stands(), post.starts()), (1, 1));
}

#[test]
fn resets_at_every_moment_are_survived() {
    let mut post = Post::open();
    let whole = webhook(&new_id());
    for n in 0..600 {
        let said = &whole[..whole.len() * (n % 7) / 6];
        if let Some(stream) = post.say(said) {
            let reset = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            reset.expect("a connection can be reset");
        }
    }
    assert_eq!((post.stands(), post.starts()), (1, 1));
}

#[test]
fn a_burst_of_kept_connections_right_after_the_start_is_answered() {
    for _ in 0..4 {
        let mut post = Post::open_with(Socket::Held, "", &[]);
        let was = post.starts();
        post.signal("TERM");
        wait_for("it is started again", || (post.starts() > was).then_some(()));
        let began = Instant::now();
        let ids: Vec<String> = (0..60).map(|_| new_id()).collect();
        // Said all at once, and nobody hangs up before everybody has been answered.
        let mut callers: Vec<_> =
            ids.iter().map(|id| post.say(webhook(id)).expect("the port is open")).collect();
        for caller in &mut callers {
            assert_eq!(answer(caller).expect("everybody is answered").0, 200);
        }
        assert!(began.elapsed() < BUYER_WAITS, "{:?}", began.elapsed());
        post.acknowledged.extend(ids);
        post.stands();
    }
}

#[test]
fn a_restart_on_a_held_socket_turns_nobody_away() {
    let mut post = Post::open_with(Socket::Held, "", &[]);
    let over = AtomicBool::new(false);
    let (over, address) = (&over, post.address);
    let kept = std::thread::scope(|scope| {
        let ending = Ending(over);
        let callers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || {
                    let mut kept = Vec::new();
                    while !over.load(SeqCst) {
                        let id = new_id();
                        assert_eq!(self::post(address, &id, BUYER_WAITS).map(|a| a.0), Ok(200));
                        kept.push(id);
                    }
                    kept
                })
            })
            .collect();
        for _ in 0..5 {
            let was = post.starts();
            post.signal("TERM");
            wait_for("it is started again", || (post.starts() > was).then_some(()));
            let served = Instant::now();
            wait_for("it has served for a while", || {
                (served.elapsed() > Duration::from_millis(700)).then_some(())
            });
        }
        drop(ending);
        callers
            .into_iter()
            .flat_map(|c| c.join().expect("every caller was acknowledged"))
            .collect::<Vec<_>>()
    });
    post.acknowledged.extend(kept);
    post.stands();
    let ends = post.close();
    assert!(ends.iter().all(|end| end == "exit status: 0"), "{ends:?}");
}

#[test]
fn a_file_that_somebody_locks_leaves_health_answering_however_many_webhooks_come() {
    let mut post = Post::open();
    let over = AtomicBool::new(false);
    let (over, address) = (&over, post.address);
    let shell =
        rusqlite::Connection::open(post.dir.path().join("shop.db")).expect("the file opens");
    shell.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    std::thread::scope(|scope| {
        let _ending = Ending(over);
        for _ in 0..200 {
            scope.spawn(move || {
                while !over.load(SeqCst) {
                    let answer = self::post(address, &new_id(), BUYER_WAITS * 2);
                    assert!(
                        !answer.as_ref().is_ok_and(|a| a.0 != 503),
                        "the file is locked: {answer:?}"
                    );
                }
            });
        }
        let began = Instant::now();
        // Longer than the daemon would bear with probes that fail.
        while began.elapsed() < Duration::from_secs(12) {
            let asked = Instant::now();
            let mut stream = post.say("GET /healthz HTTP/1.1\r\n\r\n").expect("the port is open");
            assert_eq!(answer(&mut stream).map(|a| a.0).ok(), Some(200));
            assert!(asked.elapsed() < BUYER_WAITS, "health took {:?}", asked.elapsed());
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    shell.execute_batch("COMMIT").expect("it was begun");
    assert_eq!((post.stands(), post.starts()), (1, 1));
}
