//! A program for an arm64 Linux guest that has nothing but busybox, which knows no sockets between virtual machines:
//!
//! - `vsock stream` waits for a connection and copies what it receives to its standard output;
//! - `vsock stream CID` connects to the VM of that context id, and sends it what it reads from its standard input.
//!
//! `vsock seqpacket` does the same with packets of up to 64 KiB. The exit status is 0, or an error's number. On
//! standard error it says when it waits, and at the end how many pieces it has copied.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod connection;

#[cfg(target_os = "none")]
tool_support::entry!(connection::run);

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is a program for an arm64 Linux guest: build it for aarch64-unknown-none-softfloat");
}
