"""Examples as prompts: a picture and a region of it become one picture that says which part is meant."""
