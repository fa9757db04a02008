//! The door against clients that are slow, hostile, silent or many.

use super::*;
use std::io::ErrorKind;
use std::net::Shutdown;

use socket2::SockRef;

const PATIENCE: Duration = Duration::from_secs(60);

/// Answers with the request itself, so that a test sees what came through.
fn echo(request: Request) {
    match request.path() {
        "/panic" => panic!("on purpose"),
        "/slow" => std::thread::sleep(Duration::from_millis(700)),
        _ => {}
    }
    let x = request.header("x-test").unwrap_or_default();
    let (method, path, length) = (request.method(), request.path(), request.body.len());
    let mut said = format!("{method} {path} {length} {x}");
    for also in [request.query(), request.only_header("x-one").unwrap_or_default()] {
        said += if also.is_empty() { "" } else { " and " };
        said += also;
    }
    let answer = Answer::text(200, said);
    request.answer(&answer);
}

fn limits() -> Limits {
    // The other tests' memory is this process's too.
    Limits { round: Duration::from_millis(20), memory_max: u64::MAX, ..Limits::default() }
}

fn open(limits: Limits) -> Door {
    Door::open(bind("127.0.0.1:0".parse().unwrap(), false).unwrap(), limits, echo).unwrap()
}

fn send(door: &Door, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(door.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(bytes);
    stream
}

/// All that comes back until the connection ends.
fn hear(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// One request that asks for the connection to be closed, and its answer.
fn ask(door: &Door, request: &str) -> String {
    hear(send(door, request.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes()))
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or("none")
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_request_of_any_ordinary_shape_is_answered_and_its_connection_closed() {
    let door = open(limits());
    for (request, answer) in [
        ("GET /a?b=c#d HTTP/1.1\r\nX-Test: yes\r\n\r\n", "GET /a 0 yes and b=c"),
        ("GET /a?b?c HTTP/1.1\r\nX-One: 1\r\n\r\n", "GET /a 0  and b?c and 1"),
        ("GET /a HTTP/1.1\r\nX-One: 1\r\nX-One: 1\r\nX-Test: no\r\n\r\n", "GET /a 0 no"),
        ("POST /a/ HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello", "POST /a/ 5 "),
        ("POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n", "POST / 0 "),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
            "POST / 3 ",
        ),
        ("PURGE / HTTP/1.1\r\nConnection: Keep-Alive\r\n\r\n", "PURGE / 0 "),
        ("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab", "POST / 2 "),
    ] {
        let said = ask(&door, request);
        assert!(
            said.contains("HTTP/1.1 200 OK\r\n") && said.contains("\r\nConnection: close\r\n"),
            "{said}"
        );
        assert!(said.ends_with(answer), "{request}: {said}");
    }
    let large =
        format!("POST / HTTP/1.1\r\nContent-Length: 1048576\r\n\r\n{}", "x".repeat(1 << 20));
    assert!(ask(&door, &large).ends_with("POST / 1048576 "));
    // As much as a body may have, in chunks, and a byte more.
    for (length, answer) in [(1 << 20, "200"), ((1 << 20) + 1, "413")] {
        let chunk = "x".repeat(length);
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let said = ask(&door, &format!("{head}{length:x}\r\n{chunk}\r\n0\r\n\r\n"));
        assert_eq!(status(&said), answer, "{length}");
    }
    let head = ask(&door, "HEAD / HTTP/1.1\r\n\r\n");
    assert!(head.contains("Content-Length: 9\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    let bug = ask(&door, "GET /panic HTTP/1.1\r\n\r\n");
    assert_eq!(status(&bug), "500", "{bug}");
    assert!(door.probe("/").is_ok() && door.probe("/panic").is_err());
    assert_eq!(door.broken(), None);
    assert!(door.close(Instant::now() + PATIENCE));
    assert!(TcpStream::connect(door.address()).is_err(), "nobody listens any more");
}

#[test]
fn an_answer_leads_to_a_path_of_plain_signs_and_nowhere_else() {
    let led = |path: &str| {
        let location = Some(path.to_string());
        let answer = Answer { location, ..Answer::text(303, "there".into()) };
        String::from_utf8(answer.wire(true)).unwrap()
    };
    let there = led("/orders/1042?a=b");
    assert!(there.contains("\r\nLocation: /orders/1042?a=b\r\n"), "{there}");
    for elsewhere in ["https://example.com/", "", "/a b", "/a\r\nSet-Cookie: b=c", "/\u{fc}"] {
        let said = led(elsewhere);
        assert!(!said.contains("Location") && !said.contains("Cookie"), "{elsewhere}: {said}");
        assert!(said.ends_with("\r\n\r\nthere"), "{said}");
    }
}

#[test]
fn what_does_not_say_where_it_ends_is_refused_and_nothing_after_it_is_served() {
    let door = open(limits());
    let smuggled = "GET /smuggled HTTP/1.1\r\n\r\n".repeat(3);
    for (head, expected) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", "400"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "400"),
        ("Transfer-Encoding: gzip, chunked", "400"),
        ("Transfer-Encoding: x", "400"),
        ("Content-Length: 5\r\nContent-Length: 5", "400"),
        ("Content-Length: 5\r\nContent-Length: 6", "400"),
        ("Content-Length: 30, 30", "400"),
        ("Content-Length: -1", "400"),
        ("Content-Length: +5", "400"),
        ("Content-Length: 0x5", "400"),
        ("Content-Length:", "400"),
        ("Content-Length: 1048577", "413"),
        ("Content-Length: 100000000000000", "413"),
        ("Content-Length: 18446744073709551615", "413"),
        ("Content-Length: 99999999999999999999999", "413"),
        ("Connection: Upgrade\r\nUpgrade: h2c", "400"),
        ("Connection: close\r\nConnection: upgrade", "400"),
        ("X: a\nContent-Length: 5", "400"),
    ] {
        let alone = hear(send(&door, format!("POST / HTTP/1.1\r\n{head}\r\n\r\nhello").as_bytes()));
        assert_eq!(status(&alone), expected, "{head}: {alone}");
        let said =
            hear(send(&door, format!("POST / HTTP/1.1\r\n{head}\r\n\r\n{smuggled}").as_bytes()));
        assert!([expected, "none"].contains(&status(&said)), "{head}: {said}");
        assert!(!said.contains("HTTP/1.1 2") && !said.contains("smuggled"), "{head}: {said}");
    }
    for (chunks, expected) in [
        ("5\r\nabc\r\n0\r\n\r\n", "400"),
        ("zz\r\nabc\r\n0\r\n\r\n", "400"),
        ("FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n", "400"),
        (&format!("{:x}\r\n{}\r\n0\r\n\r\n", 1 << 21, "x".repeat(1 << 21)), "413"),
    ] {
        let request =
            format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{smuggled}");
        let said = hear(send(&door, request.as_bytes()));
        assert!(status(&said) == expected && !said.contains("smuggled"), "{said}");
    }
    assert_eq!(
        status(&ask(&door, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        "400"
    );
    assert_eq!(status(&ask(&door, "GET / HTTP/0.9\r\n\r\n")), "505");
    wait_for("the refused are gone", || {
        door.gauges().iter().any(|g| g.0 == "fulfilld_http_connections" && g.2 < 5.0)
    });
    assert_eq!(door.broken(), None);
    assert_eq!(status(&ask(&door, "GET / HTTP/1.1\r\n\r\n")), "200");
    door.close(Instant::now());
}

#[test]
fn a_body_that_breaks_off_is_400_and_one_that_stalls_is_ended() {
    // The connection itself may live on, so that it is the body that ends it.
    let door = open(Limits {
        body_within: Duration::from_millis(200),
        connection_within: 10 * PATIENCE,
        ..limits()
    });
    let mut half = TcpStream::connect(door.address()).unwrap();
    half.write_all(b"POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\nhalf").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    half.read_to_string(&mut said).unwrap();
    assert_eq!(status(&said), "400", "{said}");
    let mut stalled = send(&door, b"POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\nhalf");
    let ended = stalled.read_to_end(&mut Vec::new());
    assert!(!ended.is_err_and(|e| e.kind() == ErrorKind::WouldBlock), "it is ended");
    door.close(Instant::now());
}

#[test]
fn slow_clients_keep_nobody_out() {
    // Whoever waited for the slow ones would wait longer than this test.
    let long = 10 * PATIENCE;
    let door = open(Limits { handlers: 4, body_within: long, connection_within: long, ..limits() });
    let mut slow: Vec<TcpStream> =
        (0..12).map(|_| TcpStream::connect(door.address()).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n").unwrap();
    }
    assert_eq!(status(&ask(&door, "GET / HTTP/1.1\r\n\r\n")), "200");
    door.close(Instant::now());
}

#[test]
fn a_burst_is_answered_though_nobody_hangs_up() {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // On a busy server tiny_http's threads wake late, and it gives them more to do than
        // they are.
        (0..4).for_each(|_| {
            drop(scope.spawn(|| {
                while !over.load(Relaxed) {
                    std::hint::spin_loop()
                }
            }))
        });
        for _ in 0..8 {
            let long = 10 * PATIENCE;
            let door = open(Limits { silence: long, connection_within: long, ..limits() });
            assert_eq!(status(&ask(&door, "GET / HTTP/1.1\r\n\r\n")), "200");
            let mut callers: Vec<_> =
                (0..60).map(|_| send(&door, b"GET / HTTP/1.1\r\n\r\n")).collect();
            let unanswered =
                callers.iter_mut().filter(|caller| caller.peek(&mut [0]).is_err()).count();
            over.store(unanswered > 0, Relaxed);
            assert_eq!(unanswered, 0);
            door.close(Instant::now());
        }
        over.store(true, Relaxed);
    });
}

#[test]
fn requests_that_wait_for_their_answer_keep_no_thread() {
    const NAME: &str = "waits-for-none"; // tiny_http's threads have the name of whoever opened it
    const MANY: usize = 60;
    let replies: Arc<Mutex<Vec<Reply>>> = Arc::default();
    let kept = replies.clone();
    let keep = move |request: Request| {
        let reply = request.into_reply();
        lock(&kept).push(reply);
    };
    let open = move || {
        Door::open(bind("127.0.0.1:0".parse().unwrap(), false).unwrap(), limits(), keep).unwrap()
    };
    let opening = std::thread::Builder::new().name(NAME.into()).spawn(open).unwrap();
    let door = opening.join().unwrap();
    let body = " ".repeat(4096);
    let post =
        format!("POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 4096\r\n\r\n{body}");
    let waiting: Vec<TcpStream> = (1..=MANY)
        .map(|n| {
            let stream = send(&door, post.as_bytes());
            wait_for("a request is handed on", || lock(&replies).len() == n);
            stream
        })
        .collect();
    let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let named = |name: &str| name.trim_end() == NAME;
    let threads = names
        .filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|n| named(&n)))
        .count();
    assert!((1..MANY / 2).contains(&threads), "{threads} threads for {MANY} requests");
    lock(&replies).drain(..).for_each(|reply| reply.answer(&Answer::text(200, "it is".into())));
    for stream in waiting {
        let answer = hear(stream);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("it is"), "{answer}");
    }
    door.close(Instant::now());
}

#[test]
fn what_waited_too_long_is_answered_503() {
    let door = open(Limits { handlers: 1, shed_after: Duration::from_millis(1200), ..limits() });
    let codes: Vec<String> = std::thread::scope(|scope| {
        let asked: Vec<_> =
            (0..6).map(|_| scope.spawn(|| ask(&door, "GET /slow HTTP/1.1\r\n\r\n"))).collect();
        asked.into_iter().map(|a| status(&a.join().unwrap()).to_string()).collect()
    });
    // How many of each depends on how busy the machine is.
    assert!(["200", "503"].iter().all(|code| codes.iter().any(|c| c == code)), "{codes:?}");
    assert_eq!(status(&ask(&door, "GET / HTTP/1.1\r\n\r\n")), "200", "it is over");
    door.close(Instant::now());
}

#[test]
fn silence_ends_a_connection_and_not_the_door() {
    let minute = Duration::from_secs(60);
    let door =
        open(Limits { silence: Duration::from_millis(200), connection_within: minute, ..limits() });
    let mut silent = TcpStream::connect(door.address()).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "it was ended");
    let quiet = Instant::now();
    wait_for("some silence", || quiet.elapsed() > Duration::from_secs(1));
    assert_eq!(door.broken(), None);
    assert_eq!(status(&ask(&door, "GET / HTTP/1.1\r\n\r\n")), "200");
    door.close(Instant::now());
}

#[test]
fn a_connection_has_its_time_and_less_in_a_crowd() {
    let second = Duration::from_secs(1);
    let door = open(Limits {
        connection_within: 60 * second,
        connection_within_when_crowded: second / 5,
        connections_max: 20,
        silence: 60 * second,
        ..limits()
    });
    let mut few: Vec<TcpStream> =
        (0..10).map(|_| TcpStream::connect(door.address()).unwrap()).collect();
    assert_eq!(status(&ask(&door, "GET / HTTP/1.1\r\n\r\n")), "200");
    few[0].set_read_timeout(Some(second)).unwrap();
    assert!(few[0].read(&mut [0]).is_err(), "it is still open");
    few.extend((0..20).map(|_| TcpStream::connect(door.address()).unwrap()));
    few[0].set_read_timeout(Some(PATIENCE)).unwrap();
    let ended = few[0].read(&mut [0]);
    assert!(
        matches!(ended, Ok(0)) || ended.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset),
        "it was ended"
    );
    assert_eq!(status(&ask(&door, "GET / HTTP/1.1\r\n\r\n")), "200");
    door.close(Instant::now());
}

#[test]
fn leaks_past_the_budget_and_a_dead_listener_are_reported() {
    let door =
        open(Limits { leaks_max: 3, connection_within: Duration::from_millis(100), ..limits() });
    for _ in 0..5 {
        let mut stream = TcpStream::connect(door.address()).unwrap();
        stream.write_all(b"GET / HTTP/2.0\r\n\r\n").unwrap();
    }
    wait_for("the leaks are seen", || door.broken().is_some_and(|why| why.contains("leaked")));
    assert!(door.probe("/").is_ok(), "it still serves");
    // What an error of accept(2) does.
    let listener = lock(&door.listener).as_ref().unwrap().try_clone().unwrap();
    SockRef::from(&listener).shutdown(Shutdown::Both).unwrap();
    wait_for("the end of the accept loop is seen", || {
        door.broken().is_some_and(|why| why.contains("no longer"))
    });
    assert!(door.probe("/").is_err());
    door.close(Instant::now() + Duration::from_secs(2));
}

#[test]
fn closing_answers_those_inside_and_leaves_the_others_to_the_next() {
    let held = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let old = Door::open(held.try_clone().unwrap(), limits(), echo).unwrap();
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| ask(&old, "GET /slow HTTP/1.1\r\n\r\n"));
        wait_for("the request is in hand", || lock(&old.inside.hall).in_hand() == 1);
        assert!(old.close(Instant::now() + PATIENCE));
        assert_eq!(status(&inside.join().unwrap()), "200");
    });
    std::thread::scope(|scope| {
        let outside = scope.spawn(|| ask(&old, "GET /next HTTP/1.1\r\n\r\n"));
        let new = Door::open(held.try_clone().unwrap(), limits(), echo).unwrap();
        assert!(outside.join().unwrap().contains("GET /next"));
        assert!(new.close(Instant::now() + PATIENCE));
    });
}

#[test]
fn closing_waits_for_those_who_are_in_and_have_not_spoken_yet() {
    let held = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let door = Door::open(held.try_clone().unwrap(), limits(), echo).unwrap();
    let mut late = TcpStream::connect(door.address()).unwrap();
    wait_for("it is let in", || open_connections(door.address().port()) > 0);
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| door.close(Instant::now() + PATIENCE));
        let shut = Instant::now();
        wait_for("the door is shut, and more than quiet", || {
            lock(&door.listener).is_none() && shut.elapsed() > 3 * QUIET
        });
        late.write_all(b"GET /late HTTP/1.1\r\n\r\n").unwrap();
        assert!(hear(late).contains("GET /late"));
        assert!(closing.join().unwrap());
    });
    // Who never speaks is not waited for longer than that.
    let door = Door::open(held.try_clone().unwrap(), limits(), echo).unwrap();
    let _mute = TcpStream::connect(door.address()).unwrap();
    wait_for("it is let in", || open_connections(door.address().port()) > 0);
    assert!(door.close(Instant::now() + PATIENCE));
}

#[test]
fn a_bind_says_what_is_wrong_with_it() {
    let taken = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
    for (address, why) in [
        (taken.local_addr().unwrap(), "is in use"),
        ("0.0.0.0:0".parse().unwrap(), "FULFILLD_ALLOW_PUBLIC_LISTEN=1"),
        ("[::ffff:10.0.0.1]:0".parse().unwrap(), "FULFILLD_ALLOW_PUBLIC_LISTEN=1"),
    ] {
        assert!(
            matches!(bind(address, false), Err(Error::Config(text)) if text.contains(why)),
            "{address}"
        );
    }
    assert!(bind("[::ffff:127.0.0.1]:0".parse().unwrap(), false).is_ok());
    assert!(bind("0.0.0.0:0".parse().unwrap(), true).is_ok());
    assert!(matches!(bind("192.0.2.1:1".parse().unwrap(), true),
            Err(Error::Config(text)) if text.contains("set FULFILLD_LISTEN")));
}
