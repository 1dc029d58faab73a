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

// Seconds that one of many rounds takes, after one that is not counted.
func round(action func()) float64 {
	action()
	rounds := 0
	begin := time.Now()
	for ; time.Since(begin).Seconds() < seconds(); rounds++ {
		action()
	}
	return time.Since(begin).Seconds() / float64(rounds)
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
		took := round(func() { inParallel(producers, func() { floodOnce(batch) }) })
		name := map[int]string{1: "flood, 1 producer", 4: "flood, 4 producers"}[producers]
		row(name, float64(producers*batch)/took/1e6, "M futures/s", "workers", workers,
			"producers", producers, "batch", batch)
	}
}

func detached() {
	batch := size(500000)
	took := round(func() {
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
		took := round(func() { check(fibonacci(n, both) == value, "fib") })
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

func reportTrips(name string) {
	var us []float64
	most := size(20000)
	for i := 0; i < most/20+1; i++ {
		trip(nil)
	}
	end := time.Now().Add(time.Duration(seconds() * 2e9))
	for len(us) < most && (len(us) < most/20+1 || time.Now().Before(end)) {
		begin := time.Now()
		trip(nil)
		us = append(us, float64(time.Since(begin).Nanoseconds())/1e3)
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
	reportTrips("round trip, busy CPUs,")
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
	rest := 0.0
	all := round(func() {
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
		rest = time.Since(begin).Seconds()
		check(sum == n*(n+1)/2, "results")
	})
	row("as_completed", float64(n)/all/1e6, "M futures/s", "workers", workers, "futures", n)
	row("as_completed, from the last submit on", float64(n)/rest/1e6, "M futures/s", "workers",
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
		{"round-trip", func() { reportTrips("round trip") }}, {"round-trip-busy", roundTripBusy},
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
}
