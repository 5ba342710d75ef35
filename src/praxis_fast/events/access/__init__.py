"""Who may see which events: principals, roles, rules, and the policy made of them."""
