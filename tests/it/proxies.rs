//! The real nginx and Caddy, Debian's and the newest, with the snippets that are shipped, in front
//! of the daemon.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::outside::{
    Proxy, Reply, SECRETS, address_of, connect, event, exchange, free_address, good_webhook,
    installed, replace, shipped, shop_with_two_secrets, webhook,
};
use crate::shop::{PATIENCE, sign, unix_now};

/// Above what the snippets let through.
const OVERSIZE: usize = (1 << 20) + 1;

/// Past the 10 s that a proxy may wait for the next piece of a body.
const SLOW_SENDERS_ARE_JUDGED_WITHIN: Duration = Duration::from_secs(13);

/// Checkout keeps the buyer waiting no longer than this for an answer.
const BUYER_WAITS: Duration = Duration::from_secs(10);

#[test]
fn a_webhook_is_acknowledged_through_every_proxy() {
    let shop = shop_with_two_secrets();
    for proxy in proxies(address_of(shop.desk())) {
        let reply = exchange(proxy.address, &good_webhook(&format!("evt_{}", proxy.word)))
            .expect("an answer");
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (200, r#"{"received":true}"#),
            "{}",
            proxy.word
        );

        let slash = String::from_utf8(good_webhook("evt_slash"))
            .expect("it is text")
            .replace("/webhook ", "/webhook/ ");
        assert_eq!(
            exchange(proxy.address, slash.as_bytes()).expect("an answer").status,
            200,
            "{}",
            proxy.word
        );

        // Why a webhook was refused reaches Stripe's Dashboard.
        let refused = exchange(proxy.address, &webhook(None, b"{}")).expect("an answer");
        assert_eq!(refused.status, 400, "{}", proxy.word);
        assert!(refused.body.starts_with("Webhook Error: "), "{}: {}", proxy.word, refused.body);
    }
}

#[test]
fn a_burst_of_callers_that_keep_their_connections_is_answered_through_every_proxy() {
    const CALLERS: usize = 60;
    let shop = shop_with_two_secrets();
    for proxy in proxies(address_of(shop.desk())) {
        // All at once, and once more on the same connections: right after other traffic is when a
        // burst used to starve.
        let at_once = Barrier::new(CALLERS);
        let began = Instant::now();
        std::thread::scope(|scope| {
            for caller in 0..CALLERS {
                let (proxy, at_once) = (&proxy, &at_once);
                scope.spawn(move || {
                    let mut connection = BufReader::new(connect(proxy.address));
                    at_once.wait();
                    for time in 0..2 {
                        let request = good_webhook(&format!("evt_{}_{caller}_{time}", proxy.word));
                        connection.get_mut().write_all(&request).expect("the proxy listens");
                        let reply = Reply::read(&mut connection);
                        let status = reply.as_ref().map(|r| r.status);
                        assert_eq!(
                            status,
                            Some(200),
                            "{}, caller {caller}, time {time}: {reply:?}",
                            proxy.word
                        );
                    }
                });
            }
        });
        assert!(began.elapsed() < PATIENCE / 2, "{}: {:?}", proxy.word, began.elapsed());
    }
}

#[test]
fn every_request_reaches_the_daemon_on_a_connection_of_its_own_and_cannot_turn_it_into_something_else()
 {
    through_every_proxy(|proxy, upstream| {
        let mut connection = BufReader::new(connect(proxy.address));
        let plain = String::from_utf8(good_webhook("evt_1")).expect("it is text");
        let upgrading =
            plain.replacen("\r\n", "\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", 1);
        let expecting = plain.replacen("\r\n", "\r\nExpect: 100-continue\r\n", 1);
        for request in [&plain, &plain, &upgrading, &expecting] {
            connection.get_mut().write_all(request.as_bytes()).expect("the proxy listens");
            let answer = |connection: &mut _| {
                Reply::read(connection)
                    .unwrap_or_else(|| panic!("{}: no answer to {request}", proxy.word))
            };
            let mut reply = answer(&mut connection);
            if reply.status == 100 {
                reply = answer(&mut connection);
            }
            assert_eq!(reply.status, 200, "{}", proxy.word);
        }
        let seen = upstream.seen();
        assert_eq!(seen.len(), 4, "{}: {seen:#?}", proxy.word);
        for request in seen {
            let request = request.to_ascii_lowercase();
            assert_eq!(
                request.matches("post /webhook http/1.").count(),
                1,
                "{}: {request}",
                proxy.word
            );
            assert!(request.contains("\r\nconnection: close\r\n"), "{}: {request}", proxy.word);
            assert!(
                !request.contains("\r\nupgrade:") && !request.contains("\r\nexpect:"),
                "{}: {request}",
                proxy.word
            );
        }
    });
}

#[test]
fn a_body_that_is_too_large_is_answered_413_by_the_proxy() {
    through_every_proxy(|proxy, upstream| {
        let announced =
            format!("POST /webhook HTTP/1.1\r\nHost: shop\r\nContent-Length: {OVERSIZE}\r\n\r\n");
        let reply = exchange(proxy.address, announced.as_bytes());
        assert_eq!(reply.map(|r| r.status), Some(413), "{}, announced", proxy.word);
        assert_eq!(upstream.seen(), Vec::<String>::new(), "{}", proxy.word);

        let reply = exchange(proxy.address, &oversize_in_chunks());
        assert_eq!(reply.map(|r| r.status), Some(413), "{}, in chunks", proxy.word);
        // Caddy begins to pass it on before it knows; then it breaks off.
        assert!(
            upstream.seen().iter().all(|r| !r.ends_with("0\r\n\r\n")),
            "{}: it came whole",
            proxy.word
        );
    });
}

#[test]
fn the_largest_event_comes_through_unchanged() {
    through_every_proxy(|proxy, upstream| {
        let large =
            format!(r#"{{"id":"evt_large","object":"event","pad":"{}"}}"#, "x".repeat(900_000));
        let request =
            webhook(Some(&sign(large.as_bytes(), SECRETS[0], unix_now())), large.as_bytes());
        assert_eq!(
            exchange(proxy.address, &request).map(|r| r.status),
            Some(200),
            "{}",
            proxy.word
        );
        assert!(upstream.seen()[0].ends_with(&large), "{}: the body came changed", proxy.word);
    });
}

#[test]
fn absurd_framing_ends_at_the_proxy_and_the_daemon_keeps_answering() {
    let absurd = [
        "Content-Length: 100000000000000",
        "Content-Length: 9223372036854775807",
        "Content-Length: 18446744073709551616",
        "Content-Length: 00000000000000000000000000000040000000000",
        "Content-Length: -1",
        "Content-Length: 30, 30",
        "Content-Length: 0x10",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity, nonsense",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ];
    // What is left over of such a request must not be taken for another one.
    let leftover = "0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: shop.example.org\r\n\r\n";
    let request = |framing: &str| {
        format!("POST /webhook HTTP/1.1\r\nHost: shop.example.org\r\n{framing}\r\n\r\n{leftover}")
            .into_bytes()
    };
    through_every_proxy(|proxy, upstream| {
        for framing in absurd {
            let reply = exchange(proxy.address, &request(framing));
            let refused = reply.as_ref().is_none_or(|r| (400..=501).contains(&r.status));
            // A proxy may also repair it, and pass on one sound and short request.
            assert!(refused || framing.contains("chunked"), "{}, {framing}: {reply:?}", proxy.word);
        }
        for request in upstream.seen() {
            let (head, body) = request
                .split_once("\r\n\r\n")
                .unwrap_or_else(|| panic!("{}: {request}", proxy.word));
            assert!(head.starts_with("POST /webhook HTTP/1."), "{}: {request}", proxy.word);
            assert!(!body.contains("/metrics"), "{}: {request}", proxy.word);
        }
    });
    let shop = shop_with_two_secrets();
    for proxy in proxies(address_of(shop.desk())) {
        for framing in absurd {
            drop(exchange(proxy.address, &request(framing)));
        }
        drop(exchange(proxy.address, &oversize_in_chunks()));
        let reply = exchange(proxy.address, &good_webhook(&format!("evt_after_{}", proxy.word)))
            .expect("an answer");
        assert_eq!(reply.status, 200, "{}", proxy.word);
    }
    assert_eq!(shop.get("/healthz").0, 200);
}

#[test]
fn slow_senders_stay_at_the_proxy_and_get_no_false_answer() {
    const SLOW: usize = 100;
    through_every_proxy(|proxy, upstream| {
        let body = event("evt_slow");
        let request =
            webhook(Some(&sign(body.as_bytes(), SECRETS[0], unix_now())), body.as_bytes());
        let (beginning, rest) = request.split_at(request.len() - 10);
        let mut slow: Vec<TcpStream> = (0..SLOW).map(|_| connect(proxy.address)).collect();
        for stream in &mut slow {
            stream.write_all(beginning).expect("the proxy listens");
        }
        let began = Instant::now();
        let reply = exchange(proxy.address, &good_webhook("evt_meanwhile")).expect("an answer");
        assert_eq!(reply.status, 200, "{}", proxy.word);
        assert!(began.elapsed() < BUYER_WAITS, "{}: {:?}", proxy.word, began.elapsed());
        assert_eq!(upstream.seen().len(), 1, "{}: half a request reached the daemon", proxy.word);

        // The proxy may wait for them or send them away, but an event that nobody has must not be
        // acknowledged.
        let deadline = Instant::now() + SLOW_SENDERS_ARE_JUDGED_WITHIN;
        let mut waiting = 0;
        for stream in slow {
            let left =
                deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            stream.set_read_timeout(Some(left)).expect("a time-out can be set");
            let mut connection = BufReader::new(stream);
            match connection.fill_buf().map(|told| told.len()) {
                Ok(0) => {}
                Ok(_) => {
                    let reply = Reply::read(&mut connection).expect("an answer");
                    assert!(reply.status >= 400, "{}: {reply:?} to half a request", proxy.word);
                }
                Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
                Err(_) => {
                    waiting += 1;
                    connection
                        .get_mut()
                        .set_read_timeout(Some(PATIENCE))
                        .expect("a time-out can be set");
                    connection.get_mut().write_all(rest).expect("the proxy waits");
                    let reply = Reply::read(&mut connection).expect("an answer");
                    assert_eq!(reply.status, 200, "{}: {reply:?}", proxy.word);
                }
            }
        }
        let seen = upstream.seen();
        assert_eq!(seen.len(), 1 + waiting, "{}", proxy.word);
        assert!(
            seen.iter().all(|r| r.ends_with("}}")),
            "{}: half a request reached the daemon",
            proxy.word
        );
    });
}

#[test]
fn no_other_path_is_published() {
    through_every_proxy(|proxy, upstream| {
        for path in [
            "/",
            "/healthz",
            "/readyz",
            "/metrics",
            "/webhooks",
            "/webhook/metrics",
            "/webhook/../metrics",
            "/webhook/..%2fmetrics",
            "/webhook/%2e%2e/metrics",
            "/webhook;/../metrics",
            "//metrics",
            "/WEBHOOK",
        ] {
            let reply = exchange(
                proxy.address,
                format!("GET {path} HTTP/1.1\r\nHost: shop.example.org\r\n\r\n").as_bytes(),
            )
            .expect("an answer");
            assert!(matches!(reply.status, 400 | 404), "{}, {path}: {}", proxy.word, reply.status);
        }
        assert_eq!(upstream.seen(), Vec::<String>::new(), "{}", proxy.word);
    });
}

/// nginx and Caddy, Debian's and the newest, all in front of the same upstream.
fn proxies(upstream: SocketAddr) -> [Proxy; 4] {
    [
        nginx("nginx_of_debian", ".tools/debian/usr/sbin/nginx", upstream),
        nginx("nginx_newest", ".venv/bin/nginx", upstream),
        caddy("caddy_of_debian", ".tools/debian/usr/bin/caddy", upstream, OLD_BUFFERS),
        caddy("caddy_newest", ".venv/bin/caddy", upstream, NEW_BUFFERS),
    ]
}

fn nginx(word: &'static str, program: &str, upstream: SocketAddr) -> Proxy {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let dir = directory.path();
    let address = free_address();
    let mut snippet = shipped("systemd/nginx.conf");
    replace(&mut snippet, "127.0.0.1:4242", &upstream.to_string());
    replace(&mut snippet, "listen 443 ssl;", &format!("listen {address};"));
    let ours = |line: &&str| {
        !["ssl_certificate", "listen [::]"].iter().any(|tls| line.trim_start().starts_with(tls))
    };
    let snippet = snippet.lines().filter(ours).collect::<Vec<_>>().join("\n");
    let bodies = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", dir.display()))
        .concat();
    // One process, so that none is left behind when it is ended.
    let whole = format!(
        "daemon off; master_process off; pid {0}/pid; error_log {0}/log;\nevents {{ worker_connections 1024; }}\n\
         http {{\naccess_log off;\n{bodies}{snippet}\n}}\n",
        dir.display()
    );
    fs::write(dir.join("nginx.conf"), whole).expect("a configuration can be written");
    let mut command = Command::new(installed(program));
    command.arg("-e").arg(dir.join("log")).arg("-c").arg(dir.join("nginx.conf")).arg("-p").arg(dir);
    Proxy::start(word, address, command, directory)
}

fn caddy(word: &'static str, program: &str, upstream: SocketAddr, buffers: &str) -> Proxy {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let dir = directory.path();
    let address = free_address();
    let mut snippet = shipped("systemd/Caddyfile");
    replace(&mut snippet, "127.0.0.1:4242", &upstream.to_string());
    replace(
        &mut snippet,
        "\nshop.example.org {",
        &format!("\nhttp://:{} {{\n\tbind 127.0.0.1", address.port()),
    );
    replace(&mut snippet, "{\n\tservers {", "{\n\tadmin off\n\tservers {");
    replace(&mut snippet, NEW_BUFFERS, buffers);
    fs::write(dir.join("Caddyfile"), snippet).expect("a configuration can be written");
    let mut command = Command::new(installed(program));
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(dir.join("Caddyfile"));
    command.env("HOME", dir).env("XDG_CONFIG_HOME", dir).env("XDG_DATA_HOME", dir);
    Proxy::start(word, address, command, directory)
}

/// The line of the Caddyfile that Caddyfile-2.6 spells in the other way.
const NEW_BUFFERS: &str = "request_buffers 1MiB\n";
const OLD_BUFFERS: &str = "buffer_requests\n\t\t\tmax_buffer_size 1048576\n";

/// Puts every proxy, at the same time, in front of an upstream of its own that only writes down
/// what reaches it.
fn through_every_proxy(judge: impl Fn(&Proxy, &Upstream) + Sync) {
    let judge = &judge;
    std::thread::scope(|scope| {
        for which in 0..4 {
            scope.spawn(move || {
                let upstream = Upstream::start();
                let proxies = proxies(upstream.address);
                judge(&proxies[which], &upstream);
            });
        }
    });
}

/// Stands where the daemon would and writes down, connection by connection, what it would have had
/// to read.
struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    fn start() -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let book = seen.clone();
        // Both kinds of thread end with the test binary, or when the proxy does.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let book = book.clone();
                std::thread::spawn(move || Upstream::write_down(stream, &book));
            }
        });
        Upstream { address, seen }
    }

    fn write_down(mut stream: TcpStream, book: &Mutex<Vec<String>>) {
        let page = {
            let mut book = book.lock().expect("no writer panics");
            book.push(String::new());
            book.len() - 1
        };
        let mut read = [0; 1 << 16];
        let mut all = Vec::new();
        while let Ok(n) = stream.read(&mut read) {
            if n == 0 {
                return;
            }
            all.extend_from_slice(&read[..n]);
            let text = String::from_utf8_lossy(&all).into_owned();
            let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                let head = head.to_ascii_lowercase();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                body.len() >= length.unwrap_or(0)
                    && (!head.contains("chunked") || body.ends_with("0\r\n\r\n"))
            });
            book.lock().expect("no writer panics")[page] = text;
            if whole {
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
                );
                return;
            }
        }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no writer panics").clone()
    }
}

/// A webhook whose length is not announced and that is larger than the snippets let through.
fn oversize_in_chunks() -> Vec<u8> {
    let head =
        "POST /webhook HTTP/1.1\r\nHost: shop.example.org\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_string();
    let size = 1 << 15;
    let chunk = format!("{size:x}\r\n{}\r\n", "x".repeat(size));
    (head + &chunk.repeat(OVERSIZE / size + 1) + "0\r\n\r\n").into_bytes()
}
