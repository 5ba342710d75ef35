// A go-libp2p peer for the benches of links; see praxis_fast.benchmarks.link_peer.
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

const (
	echoID  = "/echo/1.0.0"
	benchID = "/praxis/bench/1.0.0"
	piece   = 64 * 1024
)

type request struct {
	ID       int    `json:"id"`
	Command  string `json:"command"`
	Addr     string `json:"addr"`
	PeerID   string `json:"peer_id"`
	Count    int    `json:"count"`
	Parallel int    `json:"parallel"`
	Up       int64  `json:"up"`
	Down     int64  `json:"down"`
}

type answer map[string]any

func give(s network.Stream, size int64) error {
	data := make([]byte, piece)
	for size > 0 {
		n, err := s.Write(data[:min(size, piece)])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}

func take(s network.Stream, size int64) error {
	data := make([]byte, piece)
	for size > 0 {
		n, err := s.Read(data[:min(size, piece)])
		if err != nil && size > int64(n) {
			return err
		}
		size -= int64(n)
	}
	return nil
}

func onBench(s network.Stream) {
	defer s.Close()
	var sizes [2]uint64
	if binary.Read(s, binary.BigEndian, &sizes) != nil || take(s, int64(sizes[0])) != nil {
		_ = s.Reset()
		return
	}
	_ = binary.Write(s, binary.BigEndian, sizes[0])
	_ = give(s, int64(sizes[1]))
}

func transfer(ctx context.Context, h host.Host, id peer.ID, r request) (answer, error) {
	s, err := h.NewStream(ctx, id, benchID)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	start := time.Now()
	sizes := [2]uint64{uint64(r.Up), uint64(r.Down)}
	if err := binary.Write(s, binary.BigEndian, sizes); err != nil {
		return nil, err
	}
	if err := give(s, r.Up); err != nil {
		return nil, err
	}
	var got uint64
	if err := binary.Read(s, binary.BigEndian, &got); err != nil {
		return nil, err
	}
	if err := take(s, r.Down); err != nil {
		return nil, err
	}
	return answer{"seconds": time.Since(start).Seconds()}, nil
}

func echo(ctx context.Context, h host.Host, id peer.ID, number int) error {
	s, err := h.NewStream(ctx, id, echoID)
	if err != nil {
		return err
	}
	defer s.Close()
	text := []byte(fmt.Sprintf("stream %d", number))
	if _, err := s.Write(text); err != nil {
		return err
	}
	_, err = io.ReadFull(s, make([]byte, len(text)))
	return err
}

func streams(ctx context.Context, h host.Host, id peer.ID, r request) (answer, error) {
	numbers, failed := make(chan int), make(chan error, r.Parallel)
	var group sync.WaitGroup
	start := time.Now()
	for range r.Parallel {
		group.Add(1)
		go func() {
			defer group.Done()
			for number := range numbers {
				if err := echo(ctx, h, id, number); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	for number := range r.Count {
		select {
		case numbers <- number:
		case err := <-failed:
			return nil, err
		}
	}
	close(numbers)
	group.Wait()
	return answer{"seconds": time.Since(start).Seconds()}, nil
}

func dial(ctx context.Context, h host.Host, r request) (answer, error) {
	info, err := peer.AddrInfoFromString(r.Addr)
	if err != nil {
		return nil, err
	}
	seconds := []float64{}
	for number := range r.Count {
		start := time.Now()
		// Connect waits for identify.
		if err := h.Connect(ctx, *info); err != nil {
			return nil, err
		}
		seconds = append(seconds, time.Since(start).Seconds())
		if number < r.Count-1 {
			if err := h.Network().ClosePeer(info.ID); err != nil {
				return nil, err
			}
		}
	}
	return answer{"seconds": seconds, "peer_id": info.ID.String()}, nil
}

func cpu() (answer, error) {
	var usage syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	used := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	return answer{"seconds": used.Seconds()}, err
}

func run(ctx context.Context, h host.Host, r request) (answer, error) {
	switch r.Command {
	case "cpu":
		return cpu()
	case "dial":
		return dial(ctx, h, r)
	}
	id, err := peer.Decode(r.PeerID)
	if err != nil {
		return nil, err
	}
	switch r.Command {
	case "hangup":
		return answer{}, h.Network().ClosePeer(id)
	case "ping":
		seconds := []float64{}
		results := ping.Ping(ctx, h, id)
		for range r.Count {
			result := <-results
			if result.Error != nil {
				return nil, result.Error
			}
			seconds = append(seconds, result.RTT.Seconds())
		}
		return answer{"seconds": seconds}, nil
	case "transfer":
		return transfer(ctx, h, id, r)
	case "streams":
		return streams(ctx, h, id, r)
	}
	return nil, fmt.Errorf("unknown command %q", r.Command)
}

func respond(h host.Host, r request) answer {
	ctx, cancel := context.WithTimeout(context.Background(), 110*time.Second)
	defer cancel()
	result, err := run(ctx, h, r)
	if err != nil {
		result = answer{"error": err.Error()}
	}
	result["id"] = r.ID
	return result
}

func main() {
	h, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableRelay(),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	h.SetStreamHandler(benchID, onBench)
	h.SetStreamHandler(echoID, func(s network.Stream) {
		_, _ = io.Copy(s, s)
		_ = s.Close()
	})
	addrs := []string{}
	for _, addr := range h.Addrs() {
		addrs = append(addrs, fmt.Sprintf("%s/p2p/%s", addr, h.ID()))
	}
	out := json.NewEncoder(os.Stdout)
	_ = out.Encode(answer{"peer_id": h.ID().String(), "addrs": addrs})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_ = out.Encode(respond(h, r))
	}
	_ = h.Close()
}
