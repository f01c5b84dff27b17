//! A proxy between a job and the broker that all tests share: it cuts connections, holds requests back and delivers them later, stops them on
//! their way, and swallows answers. It knows of Kafka's protocol that every message begins with its length, every request with its kind, and
//! that an answer has its request's number.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::broker;

const PATIENCE: Duration = Duration::from_secs(60);

/// Kinds of requests, by their numbers.
pub(crate) const PRODUCE: i16 = 0;
pub(crate) const ADD_PARTITIONS: i16 = 24;
pub(crate) const ADD_OFFSETS: i16 = 25;
pub(crate) const END_TXN: i16 = 26;
pub(crate) const TXN_OFFSET_COMMIT: i16 = 28;

/// What happens to the next request of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Nothing.
    Pass(i16),
    /// It is kept back, its client's connection is cut, and [`Proxy::deliver`] delivers it, as a network may.
    Hold(i16),
    /// It waits, and whatever comes behind it, until [`Proxy::go_on`].
    Stall(i16),
    /// It is answered, and the connection is cut before its client gets the answer.
    Swallow(i16),
    /// It is answered, and its client never gets the answer.
    Mute(i16),
}

impl Step {
    fn kind(self) -> i16 {
        let (Step::Pass(kind) | Step::Hold(kind) | Step::Stall(kind) | Step::Swallow(kind) | Step::Mute(kind)) = self;
        kind
    }
}

/// A request that is kept back, with the connection it came on.
struct Held {
    request: Vec<u8>,
    broker: TcpStream,
}

#[derive(Default)]
struct State {
    /// One after the other: only the first is looked for.
    steps: VecDeque<Step>,
    /// How many connections are to wait where they stand.
    stalled: usize,
    go: u64,
    held: Option<Held>,
    /// Connections and numbers of requests that were delivered late, once they are answered.
    answered: HashSet<(SocketAddr, [u8; 4])>,
    open: Vec<(TcpStream, TcpStream)>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[track_caller]
    fn until<T>(&self, what: &str, mut so: impl FnMut(&mut State) -> Option<T>) -> T {
        let (mut state, began) = (self.state(), Instant::now());
        loop {
            if let Some(answer) = so(&mut state) {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: still to do are {:?}", state.steps);
            let waited = self.changed.wait_timeout(state, Duration::from_millis(100));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Stands before the broker that all tests share.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    port: u16,
}

/// The proxy, for the test alone that holds it; nothing is to happen to requests.
pub(crate) fn alone() -> MutexGuard<'static, Proxy> {
    static PROXY: OnceLock<Mutex<Proxy>> = OnceLock::new();
    let proxy = PROXY.get_or_init(|| Mutex::new(Proxy::start(broker::shared().before())));
    let proxy = proxy.lock().unwrap_or_else(PoisonError::into_inner);
    proxy.calm();
    proxy
}

impl Proxy {
    fn start((port, to): (u16, u16)) -> Proxy {
        let (listener, shared) = (TcpListener::bind(("127.0.0.1", port)).unwrap(), Arc::new(Shared::default()));
        let proxy = Proxy { shared: Arc::clone(&shared), port };
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(broker) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                let _ = (client.set_nodelay(true), broker.set_nodelay(true));
                connect(&shared, client, broker);
            }
        });
        proxy
    }

    /// Where clients find the broker behind it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What is to happen next, one after the other; what was to happen before is forgotten.
    pub(crate) fn next(&self, steps: &[Step]) {
        self.shared.state().steps = steps.iter().copied().collect();
    }

    /// Nothing happens to requests from now on, those that wait go on, and what was held back is never delivered.
    pub(crate) fn calm(&self) {
        self.next(&[]);
        let held = self.shared.state().held.take();
        held.iter().for_each(|held| _ = held.broker.shutdown(Shutdown::Both));
        self.go_on();
    }

    /// Waits until a request is held back.
    pub(crate) fn held(&self) {
        self.shared.until("a request is held back", |state| state.held.as_ref().map(drop));
    }

    /// Waits until a request waits for [`Proxy::go_on`].
    pub(crate) fn stalled(&self) {
        self.shared.until("a request waits", |state| (state.stalled > 0).then_some(()));
    }

    /// Waits until everything has happened that was to happen.
    pub(crate) fn done(&self) {
        self.shared.until("all steps", |state| state.steps.is_empty().then_some(()));
    }

    pub(crate) fn go_on(&self) {
        self.shared.state().go += 1;
        self.shared.changed.notify_all();
        self.shared.until("those that waited go on", |state| (state.stalled == 0).then_some(()));
    }

    /// Delivers what was held back, and waits for the broker's answer.
    pub(crate) fn deliver(&self) {
        let Held { request, mut broker } = self.shared.state().held.take().unwrap();
        broker.write_all(&request).unwrap();
        let late = (broker.local_addr().unwrap(), request[8..12].try_into().unwrap());
        self.shared.until("the late request is answered", |state| state.answered.remove(&late).then_some(()));
        let _ = broker.shutdown(Shutdown::Both);
    }

    /// Cuts a connection; `choose` is given how many there are.
    pub(crate) fn cut(&self, choose: impl FnOnce(usize) -> usize) {
        let mut state = self.shared.state();
        if !state.open.is_empty() {
            let at = choose(state.open.len());
            let (client, broker) = state.open.swap_remove(at);
            let _ = (client.shutdown(Shutdown::Both), broker.shutdown(Shutdown::Both));
        }
    }
}

/// One message, its length included.
fn message(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 4];
    from.read_exact(&mut message)?;
    let length = u32::from_be_bytes(message[..4].try_into().unwrap()) as usize;
    message.resize(4 + length, 0);
    from.read_exact(&mut message[4..])?;
    Ok(message)
}

fn connect(shared: &Arc<Shared>, client: TcpStream, broker: TcpStream) {
    shared.state().open.push((client.try_clone().unwrap(), broker.try_clone().unwrap()));
    // Numbers of requests whose answers do not reach the client, and whether it is cut off for it.
    let lost: Arc<Mutex<HashSet<([u8; 4], bool)>>> = Arc::default();
    let (to_broker, to_client) = (Arc::clone(shared), Arc::clone(shared));
    let (lost_to, lost_from) = (Arc::clone(&lost), lost);
    let (mut from_client, mut at_broker) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
    std::thread::spawn(move || {
        let held = forward(&to_broker, &mut from_client, &mut at_broker, &lost_to).unwrap_or(false);
        let _ = from_client.shutdown(Shutdown::Both);
        if !held {
            let _ = at_broker.shutdown(Shutdown::Both);
        }
        let this = from_client.peer_addr();
        to_broker.state().open.retain(|(client, _)| client.peer_addr().ok() != this.as_ref().ok().copied());
    });
    let (mut at_client, mut from_broker) = (client, broker);
    std::thread::spawn(move || {
        while let Ok(answer) = message(&mut from_broker) {
            let number: [u8; 4] = answer[4..8].try_into().unwrap();
            let lost = lost_from.lock().unwrap();
            if lost.contains(&(number, true)) {
                break;
            }
            if lost.contains(&(number, false)) {
                continue;
            }
            drop(lost);
            if at_client.write_all(&answer).is_err() {
                // Cut off, and what was held back is answered now.
                to_client.state().answered.extend(from_broker.local_addr().map(|connection| (connection, number)));
                to_client.changed.notify_all();
            }
        }
        let _ = (at_client.shutdown(Shutdown::Both), from_broker.shutdown(Shutdown::Both));
    });
}

/// Requests on their way to the broker; true when the connection ends with one that is held back.
fn forward(
    shared: &Shared,
    client: &mut TcpStream,
    broker: &mut TcpStream,
    lost: &Mutex<HashSet<([u8; 4], bool)>>,
) -> io::Result<bool> {
    loop {
        let request = message(client)?;
        let kind = i16::from_be_bytes(request[4..6].try_into().unwrap());
        let number: [u8; 4] = request[8..12].try_into().unwrap();
        let mut state = shared.state();
        let step = state.steps.pop_front_if(|step| step.kind() == kind);
        match step {
            None | Some(Step::Pass(_)) => {}
            Some(Step::Hold(_)) => {
                // Ports are used again.
                state.answered.clear();
                state.held = Some(Held { request, broker: broker.try_clone()? });
                shared.changed.notify_all();
                return Ok(true);
            }
            Some(Step::Stall(_)) => {
                let go = state.go;
                state.stalled += 1;
                shared.changed.notify_all();
                drop(state);
                shared.until("somebody says go on", |state| (state.go > go).then(|| state.stalled -= 1));
                shared.changed.notify_all();
            }
            Some(Step::Swallow(_)) => drop(lost.lock().unwrap().insert((number, true))),
            Some(Step::Mute(_)) => drop(lost.lock().unwrap().insert((number, false))),
        }
        shared.changed.notify_all();
        broker.write_all(&request)?;
    }
}
