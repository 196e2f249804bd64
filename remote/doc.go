// Package remote runs the tasks of an executor in worker processes: ones that it spawns
// on this machine, or ones that listen, here or elsewhere. What a program says to package
// executor stays the same; where it runs is a string.
//
//	import _ "github.com/nearfar/nearfar/remote" // or by name, as here for Init
//
//	func init() { executor.Register(area) }
//
//	func main() {
//		remote.Init() // a process that was started as a worker stays here
//		ex, err := executor.FromEnv(ctx) // NEARFAR_EXECUTOR='proc://?workers=8&threads=1'
//		...
//	}
//
// # Both sides are one program
//
// Go cannot send code. A worker is a process of a program that registered the same
// functions at package init, most simply the same program: see [executor.Register]. Init
// is the first line of main, and of TestMain. In a process that was started as a worker it
// serves, and never returns; in others it does nothing.
//
// When they meet, the sides compare the names of functions with fingerprints of their
// argument and result types. A call goes only to a worker that has its function with the
// same types; if there is none, it fails with executor.ErrNotRegistered, which says what
// each worker lacks. The handshake fails with ErrHandshake, or ErrAuth if it is about the
// token, within Config.ConnectTimeout.
//
// # Backends
//
// Importing the package registers four, for executor.Open, FromEnv and New:
//
//	proc://?workers=8&threads=1        spawns workers, over TCP on loopback
//	proc://?workers=8&transport=unix   the same, over unix sockets in a private directory
//	tcp://host:8786,host:8787          workers that listen
//	tls://host:8786?ca=ca.pem&cert=client.pem&key=client.key&token_file=token
//	unix:///run/nearfar.sock           on this machine
//
// proc alone has a worker a CPU, of one thread each. GOMAXPROCS of a worker that was given
// its threads is that number, so workers=8&threads=1 and workers=1&threads=8 really
// differ: the former share no heap and no collector, the latter share what they hold. proc
// returns when all have joined; the others when all addresses were tried, for
// ConnectTimeout at most, with those that answered. Addresses that do not answer, or no
// longer, are dialled again in the background.
//
// A worker that listens is any program that calls Init, started with a URL in its
// environment,
//
//	NEARFAR_WORKER='tcp://127.0.0.1:8786?threads=8' ./program
//
// or one that calls Serve. It serves until SIGTERM, and prints one line on stderr when it
// is ready:
//
//	nearfar: worker NAME listening on tcp://127.0.0.1:8786
//
// Port 0 picks one. The URL's keys are threads, name and insecure. Several clients may
// share a worker: slots are first come, first served, and each sees its own values only (R5).
//
// # What travels
//
// Arguments and values that can be encoded faithfully, errors that were registered, and
// futures: package executor says which. What cannot is refused in the client with
// executor.ErrNotEncodable or ErrTooLarge, before it is sent (G26). To rehearse it near,
// use local://?strict=true. Values of ctx, global variables, open files and closures do
// not travel; executor.Go fails far. executor.RegisterSetup prepares each process.
//
// # Where values stay
//
//   - A value of at most 64 KiB comes home with the news that its task is done. A larger one
//     stays on its worker until Result, Gather or the like asks for it (G18). Wait moves
//     nothing.
//   - Then and its kin run where their input is; with inputs on several workers, on the one
//     that has the most bytes, unless it is busy. What must move goes from worker to
//     worker, and through the client if they cannot reach each other (G19).
//   - An argument may hold futures. It travels as references, and their Result inside the
//     task reads what the worker has, or fetches it from a peer (G20).
//   - Release, or the garbage collector taking the last reference to a future, frees its value
//     on the workers (G21). Close loses what is not home: Result then gives ErrClosed.
//   - A stored value is shared by the tasks that read it, and is not to be changed (R7).
//
// The client holds the schedule; there is no other process, and when the client ends, so do
// its calls and values. Inside a task, executor.FromContext is the client's executor, and
// what a task submits goes there (R6).
//
// # Loss
//
// A worker that dies, or is silent for HeartbeatTimeout, loses nothing that can be had
// again (G22). Its tasks run elsewhere, and values that only it held are computed again
// from their tasks, inputs first: so tasks must give an equal value again, and may run more
// than once. A task that may have cost a worker its life runs again alone; after
// Config.MaxLosses of those it fails with a *LostError, which tells how the last one
// ended. Under WithAtMostOnce, a task that may have started fails with ErrWorkerLost
// instead, and its value, if that is lost, is ErrDataLost; so is scattered data, which has
// no task, when its last copy is gone. With no worker left, tasks wait
// Config.NoWorkersTimeout, then fail with ErrNoWorkers (R4).
//
// # Processes
//
// Spawned workers get the client's arguments, directory and environment, less what begins
// with NEARFAR_. One that ends is started again: at once, then after 0.1 s, doubling up
// to 5 s, and at once again after a life of 10 s. One that is silent is killed first.
// What they print goes to Config.Logger line by line. They end when the client does,
// however that happens (G23). SIGTERM drains a worker: it takes no new tasks, lets what
// runs end, and hands its values over, for at most WorkerConfig.DrainTimeout.
//
// Close cancels what is left and waits CloseGrace for functions to return; then
// processes are killed, and connections dropped (G8).
//
// # Errors
//
// Registered sentinels and types are found by errors.Is and errors.As, as those of the
// standard library that programs ask for; a panic is a *futures.PanicError with the
// worker's stack; the rest is a *TaskError (G24).
//
// # Security
//
//   - Who reaches a worker and passes its handshake can run its registered functions, and
//     no other. A worker therefore refuses to listen off loopback without TLS and a
//     token, unless it is told that this is meant (Insecure) (G27).
//   - The token is a secret that both sides have: each proves that it knows it, by an HMAC
//     over fresh nonces of both, bound to the TLS connection if there is one, and
//     compared in constant time. It is never sent. Spawned workers get one over a pipe; those
//     that listen read NEARFAR_TOKEN_FILE, or NEARFAR_TOKEN, which Init takes out of their
//     environment.
//   - TLS is 1.3. The client verifies the worker's certificate, by CAFile if there is one, else
//     by the system's; a worker with a CAFile verifies clients. Workers verify each other
//     by that CAFile, and without one only by the token.
//   - tcp:// and unix:// do not encrypt. On tcp every block of bytes has a checksum, so
//     what is damaged ends the connection, and is never a wrong value (G25).
//   - Sizes are checked before memory is taken for them, and a handshake has a time limit
//     (G25).
//
// PROTOCOL.md, beside the code, has all that is sent.
package remote
