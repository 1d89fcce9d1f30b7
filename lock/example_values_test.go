package lock_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/conclave-go/conclave/lock"
)

// Tokens travel as text, since 64-bit numbers do not survive every reader of JSON.
func ExampleToken_MarshalText() {
	type order struct {
		ID    string     `json:"id"`
		Token lock.Token `json:"token"`
	}
	token, _ := lock.ParseToken("1042.3")
	text, err := json.Marshal(order{ID: "a7", Token: token})
	fmt.Println(string(text), err)

	var back order
	err = json.Unmarshal(text, &back)
	fmt.Println(back.Token == token, err)
	// Output:
	// {"id":"a7","token":"1042.3"} <nil>
	// true <nil>
}

// All users of a semaphore have to agree on the number of permits. The number changes
// when all who counted with the old one have left.
func ExamplePermitsError() {
	ctx := context.Background()
	session, _, stop := exampleSession()
	defer stop()
	ten, err := lock.NewSemaphore(session, "database/connections", 10)
	if err != nil {
		panic(err)
	}
	twelve, err := lock.NewSemaphore(session, "database/connections", 12)
	if err != nil {
		panic(err)
	}
	err = ten.Do(ctx, 1, func(ctx context.Context, _ *lock.Hold) error {
		_, err := twelve.Acquire(ctx, 1)
		return err
	})
	if permits, ok := errors.AsType[*lock.PermitsError](err); ok {
		fmt.Println(permits.Name, "has", permits.Agreed, "permits, not", permits.Permits)
	}
	fmt.Println(twelve.Do(ctx, 1, func(context.Context, *lock.Hold) error { return nil }))
	// Output:
	// database/connections has 10 permits, not 12
	// <nil>
}
