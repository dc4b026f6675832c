// A receiver of pushed events, with Go's standard library alone: it verifies each signature, and prints what it got.
//
//	PUSH_SECRETS=whsec_... PORT=9000 go run receiver.go
//
// Answer 2xx when the event is done with: then the account's next one comes. Answer 503 or 429 while your own systems are away, 410
// for an event that will never be wanted, and anything else when it failed: it comes again, with the same webhook-id.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"math"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const toleranceSeconds = 300

func readSecrets() [][]byte {
	var secrets [][]byte
	for _, text := range strings.Split(os.Getenv("PUSH_SECRETS"), ",") {
		secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_"))
		if err != nil || len(secret) == 0 {
			log.Fatal("PUSH_SECRETS must be one or two secrets that begin with whsec_")
		}
		secrets = append(secrets, secret)
	}
	return secrets
}

// isGenuine says whether one of the signatures fits one of the secrets, and the request is fresh.
func isGenuine(secrets [][]byte, header http.Header, body []byte) bool {
	timestamp := header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || math.Abs(float64(time.Now().Unix()-seconds)) > toleranceSeconds {
		return false
	}
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		fmt.Fprintf(mac, "%s.%s.", header.Get("webhook-id"), timestamp)
		mac.Write(body)
		expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
		for _, given := range strings.Split(header.Get("webhook-signature"), " ") {
			if hmac.Equal([]byte(given), []byte(expected)) {
				return true
			}
		}
	}
	return false
}

func main() {
	secrets := readSecrets()
	port := os.Getenv("PORT")
	if port == "" {
		port = "9000"
	}
	http.HandleFunc("/", func(response http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil || !isGenuine(secrets, request.Header, body) {
			http.Error(response, "the signature does not fit", http.StatusUnauthorized)
			return
		}
		account, _ := url.PathUnescape(request.Header.Get("inturn-account"))
		header := request.Header
		fmt.Println(account, header.Get("inturn-seq"), header.Get("inturn-attempt"), header.Get("ce-type"), string(body))
		response.WriteHeader(http.StatusNoContent)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+port, nil))
}
