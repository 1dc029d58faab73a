// SPDX-License-Identifier: MIT

// Goroutines and channels, with the same workloads, rows and output as
// harness.h has for C. The pool is the runtime's own, of GOMAXPROCS threads; a
// task with a result is a goroutine and a channel for it. What comes in the
// order in which tasks end comes over one channel. There is no goroutine that
// is certain not to have begun, so that nothing is cancelled or held here.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const workers = 2

var quick bool

func size(full int) int {
	if !quick {
		return full
	}
	if full < 100 {
		return 1
	}
	return full / 100
}

func seconds() float64 {
	if quick {
		return 0.01
	}
	return 0.25
}

func check(right bool, what string) {
	if !right {
		panic(what)
	}
}

func row(workload string, value float64, unit string, parameters ...interface{}) {
	var text []string
	for i := 0; i < len(parameters); i += 2 {
		text = append(text, fmt.Sprintf("%q: %v", parameters[i], parameters[i+1]))
	}
	fmt.Printf("{\"program\": \"Go\", \"workload\": %q, \"parameters\": {%s}, \"value\": %.6g, \"unit\": %q}\n",
		workload, strings.Join(text, ", "), value, unit)
}

// ---- rounds, of which those count that began and ended with CPUs near each other: rounds.c

const patience, enough = 2.0, 1 / 5.0

var meterFrom, meterTo *os.File
var nNear, nApart, nMixed int

func areNear() bool {
	value := os.Getenv("BENCH_METER")
	if value == "" || quick {
		return true
	}
	if meterFrom == nil {
		var from, to uintptr
		_, err := fmt.Sscanf(value, "%d,%d", &from, &to)
		check(err == nil, "BENCH_METER")
		meterFrom, meterTo = os.NewFile(from, "meter"), os.NewFile(to, "meter")
	}
	answer := []byte{0}
	_, err := meterTo.Write([]byte("?"))
	check(err == nil, "the meter")
	_, err = meterFrom.Read(answer)
	check(err == nil, "the meter")
	return answer[0] == 'n'
}

// How often, seconds, and seconds of another kind.
type round struct{ n, took, rest float64 }

func (sum *round) add(r round) {
	sum.n += r.n
	sum.took += r.took
	sum.rest += r.rest
}

type rounds struct {
	wanted     float64 // seconds that are to count
	anyhow     bool    // however far the CPUs are apart
	sum, apart round
	near       bool
	mixed      bool // too few count, so all do
	begun      time.Time
}

func newRounds(wanted float64, anyhow bool) *rounds {
	return &rounds{wanted: wanted, anyhow: anyhow, near: anyhow || areNear(), begun: time.Now()}
}

func (r *rounds) inTime() bool {
	return r.anyhow || time.Since(r.begun).Seconds() < patience
}

func (r *rounds) goOn() bool {
	if r.sum.took >= r.wanted {
		return false
	}
	if r.sum.took+r.apart.took == 0 || r.inTime() {
		for !r.near && r.inTime() {
			time.Sleep(5 * time.Millisecond)
			r.near = areNear()
		}
		return true
	}
	if r.sum.took < enough*r.wanted {
		nMixed++
		r.mixed = true
		r.sum.add(r.apart)
	}
	return false
}

func (r *rounds) end(one round) bool {
	counts := r.near
	r.near = r.anyhow || areNear()
	if counts = counts && r.near; counts {
		nNear++
		r.sum.add(one)
	} else {
		nApart++
		r.apart.add(one)
	}
	return counts
}

// The action says how long of it was of another kind.
func measure(action func() float64) round {
	r := newRounds(seconds(), false)
	for r.goOn() {
		one := round{}
		action()
		for begin := time.Now(); one.took < seconds()/10; one.took = time.Since(begin).Seconds() {
			one.rest += action()
			one.n++
		}
		r.end(one)
	}
	return r.sum
}

// Seconds that one of many takes.
func each(action func()) float64 {
	sum := measure(func() float64 { action(); return 0 })
	return sum.took / sum.n
}

func quantile(sorted []float64, q float64) float64 {
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

//go:noinline
func spin(iterations uint64) uint64 {
	x := uint64(88172645463325252)
	for i := uint64(0); i < iterations; i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

func submit(k int) chan int {
	result := make(chan int, 1)
	go func() { result <- k + 1 }()
	return result
}

func floodOnce(n int) {
	results := make([]chan int, n)
	for i := range results {
		results[i] = submit(i)
	}
	for i, result := range results {
		check(<-result == i+1, "a result")
	}
}

func inParallel(n int, action func()) {
	var all sync.WaitGroup
	for i := 0; i < n; i++ {
		all.Add(1)
		go func() {
			action()
			all.Done()
		}()
	}
	all.Wait()
}

func flood() {
	for producers := 1; producers <= 4; producers += 3 {
		batch := size(100000) / producers
		took := each(func() { inParallel(producers, func() { floodOnce(batch) }) })
		name := map[int]string{1: "flood, 1 producer", 4: "flood, 4 producers"}[producers]
		row(name, float64(producers*batch)/took/1e6, "M futures/s", "workers", workers,
			"producers", producers, "batch", batch)
	}
}

func detached() {
	batch := size(500000)
	took := each(func() {
		var all sync.WaitGroup
		all.Add(batch)
		for i := 0; i < batch; i++ {
			go all.Done()
		}
		all.Wait()
	})
	row("detached flood", float64(batch)/took/1e6, "M tasks/s", "workers", workers, "producers", 1,
		"batch", batch)
}

func fibonacci(n int, both bool) int {
	if n < 2 {
		return n
	}
	other := make(chan int, 1)
	go func() { other <- fibonacci(n-1, both) }()
	if both {
		second := make(chan int, 1)
		go func() { second <- fibonacci(n-2, both) }()
		return <-second + <-other
	}
	return fibonacci(n-2, both) + <-other
}

func fib() {
	n := 27
	if quick {
		n = 17
	}
	value, next := 0, 1
	for i := 0; i < n; i++ {
		value, next = next, value+next
	}
	for _, both := range []bool{false, true} {
		took := each(func() { check(fibonacci(n, both) == value, "fib") })
		if both {
			row("fork-join, both children forked", float64(next-1)*2/took/1e6, "M forks/s",
				"workers", workers, "n", n)
		} else {
			row("fork-join, one child forked", float64(next-1)/took/1e6, "M forks/s", "workers",
				workers, "n", n)
		}
	}
}

func trip(started *time.Time) {
	result := make(chan struct{}, 1)
	go func() {
		if started != nil {
			*started = time.Now()
		}
		result <- struct{}{}
	}()
	<-result
}

// At most so many round trips, in us.
func tripsOfRound(most int) []float64 {
	var us []float64
	for begin := time.Now(); len(us) < most && time.Since(begin).Seconds() < seconds()/10; {
		submitted := time.Now()
		trip(nil)
		us = append(us, float64(time.Since(submitted).Nanoseconds())/1e3)
	}
	return us
}

func reportTrips(name string, anyhow bool) {
	var us, others []float64
	most := size(20000)
	r := newRounds(seconds()*2, anyhow)
	for len(us) < most && (r.goOn() || len(us)+len(others) < most/20+1) {
		tripsOfRound(most/20 + 1) // not counted
		begin := time.Now()
		some := tripsOfRound(most)
		if r.end(round{float64(len(some)), time.Since(begin).Seconds(), 0}) {
			us = append(us, some...)
		} else {
			others = append(others, some...)
		}
	}
	if r.mixed {
		us = append(us, others...)
	}
	sort.Float64s(us)
	for _, q := range []struct {
		name  string
		value float64
	}{{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}} {
		row(name+" "+q.name, quantile(us, q.value), "us", "workers", workers, "tasks", len(us))
	}
}

func roundTripBusy() {
	var hogs []*exec.Cmd
	for i := 0; i < 2; i++ {
		hog := exec.Command("sh", "-c", "while kill -0 $PPID; do i=0; "+
			"while [ $i -lt 100000 ]; do i=$((i + 1)); done; done")
		check(hog.Start() == nil, "sh")
		hogs = append(hogs, hog)
	}
	reportTrips("round trip, busy CPUs,", true)
	for _, hog := range hogs {
		hog.Process.Kill()
		hog.Wait()
	}
}

func wakeUp() {
	us := make([]float64, size(100))
	for i := range us {
		var started time.Time
		time.Sleep(10 * time.Millisecond)
		begin := time.Now()
		trip(&started)
		us[i] = float64(started.Sub(begin).Nanoseconds()) / 1e3
	}
	sort.Float64s(us)
	row("wake-up after 10 ms idle p50", quantile(us, 0.5), "us", "workers", workers, "tasks", len(us))
	row("wake-up after 10 ms idle p90", quantile(us, 0.9), "us", "workers", workers, "tasks", len(us))
}

func asCompleted() {
	n := size(200000)
	sum := measure(func() float64 {
		results := make(chan int, n)
		sum := 0
		for i := 0; i < n; i++ {
			k := i
			go func() { results <- k + 1 }()
		}
		begin := time.Now()
		for i := 0; i < n; i++ {
			sum += <-results
		}
		rest := time.Since(begin).Seconds()
		check(sum == n*(n+1)/2, "results")
		return rest
	})
	done := float64(n) * sum.n
	row("as_completed", done/sum.took/1e6, "M futures/s", "workers", workers, "futures", n)
	row("as_completed, from the last submit on", done/sum.rest/1e6, "M futures/s", "workers",
		workers, "futures", n)
}

func plainly(n int, iterations uint64) float64 {
	begin := time.Now()
	inParallel(workers, func() {
		for i := 0; i < n/workers; i++ {
			spin(iterations)
		}
	})
	return time.Since(begin).Seconds()
}

func work() {
	iterations := uint64(20000000)
	if quick {
		iterations = 1000000
	}
	plainly(workers, iterations)
	rate := float64(iterations) / (plainly(workers, iterations) * 1e6)
	for _, us := range []float64{1, 10, 20, 100} {
		total := 0.15
		if quick {
			total = 0.004
		}
		n := int(total*1e6/us) * workers
		each := uint64(rate * us)
		all := func(n int) {
			var done sync.WaitGroup
			done.Add(n)
			for i := 0; i < n; i++ {
				go func() {
					spin(each)
					done.Done()
				}()
			}
			done.Wait()
		}
		all(n/10 + 1)
		ideal := plainly(n, each) / 2
		begin := time.Now()
		all(n)
		took := time.Since(begin).Seconds()
		ideal += plainly(n, each) / 2
		row(fmt.Sprintf("tasks of %g us", us), ideal/took*100, "% of ideal", "workers", workers,
			"tasks", n)
	}
}

// Of every thread but the first.
func switches() float64 {
	sum := 0.0
	tasks, _ := filepath.Glob("/proc/self/task/*")
	for _, task := range tasks {
		if filepath.Base(task) == strconv.Itoa(os.Getpid()) {
			continue
		}
		file, err := os.Open(task + "/status")
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if name, value, _ := strings.Cut(lines.Text(), ":"); strings.HasSuffix(name, "voluntary_ctxt_switches") {
				n, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
				sum += n
			}
		}
		file.Close()
	}
	return sum
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil, "getrusage")
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func idle() {
	pause := time.Second
	if quick {
		pause /= 10
	}
	floodOnce(1000)
	time.Sleep(200 * time.Millisecond)
	woken, cpu := switches(), cpuSeconds()
	time.Sleep(pause)
	cpu = cpuSeconds() - cpu
	woken = switches() - woken
	row("idle pool: CPU time", cpu*1e6/pause.Seconds(), "us/s", "workers", workers)
	row("idle pool: wake-ups", woken/pause.Seconds(), "1/s", "workers", workers)
}

func main() {
	workloads := []struct {
		name string
		run  func()
	}{
		{"flood", flood}, {"detached", detached}, {"fib", fib},
		{"round-trip", func() { reportTrips("round trip", false) }}, {"round-trip-busy", roundTripBusy},
		{"wake-up", wakeUp}, {"as-completed", asCompleted}, {"work", work}, {"idle", idle},
	}
	chosen := map[string]bool{}

	runtime.GOMAXPROCS(workers)
	for _, arg := range os.Args[1:] {
		switch arg {
		case "--quick":
			quick = true
		case "--list":
			for _, workload := range workloads {
				fmt.Println(workload.name)
			}
			return
		default:
			chosen[arg] = true
		}
	}
	all := len(chosen) == 0
	for _, workload := range workloads {
		if all || chosen[workload.name] {
			workload.run()
			delete(chosen, workload.name)
		}
	}
	check(len(chosen) == 0, "no such workload")
	fmt.Printf("{\"rounds\": {\"near\": %d, \"apart\": %d, \"mixed\": %d}}\n", nNear, nApart, nMixed)
}
