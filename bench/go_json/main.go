// Splits a file of JSON texts with encoding/json, once for each line on standard input,
// and answers with the number of texts.
//
//	go run ./bench/go_json FILE CHUNK
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
)

// chunks hands its bytes over as a socket would, so many at a time.
type chunks struct {
	bytes.Reader
	size int
}

func (c *chunks) Read(p []byte) (int, error) {
	return c.Reader.Read(p[:min(len(p), c.size)])
}

func split(data []byte, size int) (int, error) {
	source := &chunks{size: size}
	source.Reset(data)
	decoder := json.NewDecoder(source)
	for count := 0; ; count++ {
		var text json.RawMessage
		if err := decoder.Decode(&text); err == io.EOF {
			return count, nil
		} else if err != nil {
			return count, err
		}
	}
}

func main() {
	data, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	size, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		count, err := split(data, size)
		if err != nil {
			panic(err)
		}
		fmt.Println(count)
	}
}
