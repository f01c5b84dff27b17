//! The loops by hand as a program of their own, as they would be without Millpond: with the malloc that the system has. `benches/kafka.sh`
//! builds it.

mod loops;
mod raw;
mod windows;

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    loops::be(&args);
}
