//! Faults: whatever is done to files, disks, plans and input, the job says what and where and how to go on, or goes on rightly. Nothing is
//! lost: with the damage undone, it computes what it would have computed anyway.

mod damage;
mod disk;
mod input;
mod plans;
mod sync;
mod time;
