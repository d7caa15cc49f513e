// Swagger UI over the service's own document; the library comes with the distribution, not from the web.
window.SwaggerUIBundle({ url: "/openapi.json", dom_id: "#reference", deepLinking: true, validatorUrl: null });
