//! The real program, the real file, a simulated Stripe: what a shopkeeper could notice.

mod shop; // a shop for one test, and what tests say it with
mod reader; // what is read of its file
mod proof; // what a long test came to, for PROOF.md

mod webhook; // what the webhook answers
mod attacks; // what strangers can do to the port
mod arrivals; // every order of arrival
mod lives; // and of everything that can happen to an order later
mod backfill; // what never arrived
mod sweeps; // what Stripe makes no event of
mod versions; // whatever the year of Stripe's API
mod rebuild; // what comes from Stripe, derived again
mod weeks; // everything at once
mod crashes; // kill -9
mod disk; // what a power cut leaves of it
mod powercuts; // the file after one
mod drive; // what one leaves of a machine's drive
mod kernel_cuts; // and that of a real kernel
mod syscalls; // each call that touches the file fails, or is the last
mod restores; // and put back by hand
mod backups; // what is left when the disk is not
mod drills; // whether that could be restored
mod beside_systemd; // fulfilld restore, where systemd runs the shop
mod litestream; // a second machine
mod stops; // SIGTERM
mod file; // one file, its log, and what people do with both
mod meddling; // and with its lock and its marks, while it is served
mod upgrades; // the file of an older version
mod restarts; // while somebody holds the socket
mod roll; // a new signing secret
mod requests; // what is requested from Stripe, and how often
mod joined; // what Stripe shows only later
mod stripe_fails; // every way in which Stripe can fail
mod mutated; // and answer wrongly in any one place
mod timing; // a clock that is wrong, or is set
mod settings; // wrong ones
mod beside; // verbs typed beside the service
mod attention; // what needs a person
mod shell; // the operator's edits
mod page; // the page for people who pack
mod parcels; // as shops send them
mod labels; // files for label services
mod verbs; // the command line
mod terminal; // what a person sees of it
mod search; // what is found in a file of many orders
mod doctor; // what keeps orders from arriving
mod operator; // whatever an operator types
mod hooks; // hooks, the shop's own programs, are notified
mod trials; // and tried by the desk itself
mod hook_examples; // those that are shipped
mod privacy; // what is held about people
mod logs; // what the log says
mod docs; // the documents are true

mod money; // what the file says of it
mod bookkeeping; // and whether it is what a bookkeeper needs
mod bench_shop; // the large shop of the benchmark
mod outside; // other people's programs
mod page_outside; // the page behind nginx and Caddy, and in Chromium
mod proxies; // nginx and Caddy
mod sdks; // Stripe's own libraries
mod shells; // old and new shells
mod monitoring; // alerts and the dashboard
mod package; // what the .deb has
mod init; // what a shop needs before its first start
mod units; // systemd
